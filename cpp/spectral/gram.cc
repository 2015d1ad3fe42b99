// The solver behind gram.h, on Eigen's tridiagonal reduction.
#include "spectral/gram.h"

#define EIGEN_MPL2_ONLY
#define EIGEN_DONT_PARALLELIZE
#include <Eigen/Eigenvalues>
#include <algorithm>
#include <cassert>
#include <functional>
#include <vector>

#include "base/error.h"
#include "spectral/scaled_block.h"
#include "spectral/spectrum_math.h"
#include "spectral/tridiagonal.h"

namespace spectralkv {

namespace {

using Eigen::Index;
using Eigen::MatrixXd;
using Eigen::VectorXd;

std::span<const double> as_span(const VectorXd& v) {
  return {v.data(), static_cast<std::size_t>(v.size())};
}

using RowMajor = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

}  // namespace

void settle_eigenvalues(std::span<double> values) {
  std::sort(values.begin(), values.end(), std::greater<>());
  const double floor = eigenvalue_floor(values[0], static_cast<int>(values.size()));
  for (double& value : values)
    if (!(value > floor)) value = 0;
}

struct GramSolver::State {
  ScaledBlock block;
  MatrixXd gram;  // lower triangle
  Eigen::Tridiagonalization<MatrixXd> tridiagonal{1};
  Eigen::SelfAdjointEigenSolver<MatrixXd> solver;
  VectorXd diagonal, off_diagonal;
  std::vector<double> eigenvalues, scratch;
  MatrixXd short_vectors;  // one vector a column
};

GramSolver::GramSolver() : state_(std::make_unique<State>()) {}
GramSolver::GramSolver(GramSolver&&) noexcept = default;
GramSolver& GramSolver::operator=(GramSolver&&) noexcept = default;
GramSolver::~GramSolver() = default;

std::span<const double> GramSolver::eigenvalues() const {
  return state_->eigenvalues;
}

double GramSolver::scale() const {
  return state_->block.scale;
}

void GramSolver::load(ConstMatrix block) {
  State& s = *state_;
  s.block.load(block);
  const Index p = s.block.cols;
  const Eigen::Map<const RowMajor, 0, Eigen::OuterStride<>> values(s.block.values.data(), s.block.rows, p,
                                                                   Eigen::OuterStride<>(s.block.stride));
  s.gram.setZero(p, p);
  s.gram.selfadjointView<Eigen::Lower>().rankUpdate(values.transpose());

  s.tridiagonal.compute(s.gram);
  s.diagonal = s.tridiagonal.diagonal();
  s.off_diagonal = s.tridiagonal.subDiagonal();
  s.solver.computeFromTridiagonal(s.diagonal, s.off_diagonal, Eigen::EigenvaluesOnly);
  check(s.solver.info() == Eigen::Success, "spectral", "the eigenvalue iteration did not converge");
  const VectorXd& ascending = s.solver.eigenvalues();
  s.eigenvalues.assign(ascending.data(), ascending.data() + p);
  settle_eigenvalues(s.eigenvalues);
}

void GramSolver::leading_vectors(int rank, std::span<float> left, std::span<float> right) {
  State& s = *state_;
  const Index p = s.block.cols;
  assert(rank >= 0 && rank <= p);
  if (rank == 0) return;
  assert(s.eigenvalues[static_cast<std::size_t>(rank - 1)] > 0);
  s.short_vectors.resize(p, rank);
  const std::span<double> columns(s.short_vectors.data(), static_cast<std::size_t>(p * rank));
  if (tridiagonal_eigenvectors(as_span(s.diagonal), as_span(s.off_diagonal),
                               std::span<const double>(s.eigenvalues).first(static_cast<std::size_t>(rank)),
                               columns, s.scratch)) {
    s.short_vectors.applyOnTheLeft(s.tridiagonal.matrixQ());
  } else {
    s.solver.compute(s.gram);
    check(s.solver.info() == Eigen::Success, "spectral", "the eigenvector iteration did not converge");
    s.short_vectors = s.solver.eigenvectors().rightCols(rank).rowwise().reverse();
  }
  pair_vectors(s.block, rank, columns, left, right);
}

}  // namespace spectralkv
