// The solver behind gram.h, on Eigen's tridiagonal reduction.
#include "spectral/gram.h"

#define EIGEN_MPL2_ONLY
#define EIGEN_DONT_PARALLELIZE
#include <Eigen/Eigenvalues>
#include <algorithm>
#include <cassert>
#include <cmath>
#include <limits>
#include <vector>

#include "base/error.h"
#include "spectral/tridiagonal.h"

namespace spectralkv {

namespace {

using Eigen::Index;
using Eigen::MatrixXd;
using Eigen::VectorXd;

std::span<const double> as_span(const VectorXd& v) {
  return {v.data(), static_cast<std::size_t>(v.size())};
}

}  // namespace

struct GramSolver::State {
  MatrixXd block;  // [long side, short side], scaled
  MatrixXd gram;   // [short side, short side], lower triangle
  bool transposed = false;
  double scale = 1;
  Eigen::Tridiagonalization<MatrixXd> tridiagonal{1};
  Eigen::SelfAdjointEigenSolver<MatrixXd> solver;
  VectorXd diagonal, off_diagonal;
  std::vector<double> eigenvalues, scratch;
  MatrixXd short_vectors, long_vectors;  // one vector a column
};

GramSolver::GramSolver() : state_(std::make_unique<State>()) {}
GramSolver::GramSolver(GramSolver&&) noexcept = default;
GramSolver& GramSolver::operator=(GramSolver&&) noexcept = default;
GramSolver::~GramSolver() = default;

std::span<const double> GramSolver::eigenvalues() const {
  return state_->eigenvalues;
}

double GramSolver::scale() const {
  return state_->scale;
}

void GramSolver::load(ConstMatrix block) {
  State& s = *state_;
  check(block.rows >= 1 && block.cols >= 1, "spectral", "empty block [", block.rows, ", ", block.cols, "]");
  float largest = 0;
  for (std::int64_t i = 0; i < block.rows; ++i)
    for (std::int64_t j = 0; j < block.cols; ++j) {
      check(std::isfinite(block(i, j)), "spectral", "block [", block.rows, ", ", block.cols, "] holds ",
            block(i, j), " at row ", i, ", column ", j);
      largest = std::max(largest, std::fabs(block(i, j)));
    }
  int exponent = 0;
  if (largest > 0) std::frexp(static_cast<double>(largest), &exponent);
  s.scale = std::ldexp(1.0, exponent);
  const double inverse = std::ldexp(1.0, -exponent);

  s.transposed = block.rows < block.cols;
  const Index p = std::min(block.rows, block.cols);
  s.block.resize(std::max(block.rows, block.cols), p);
  for (std::int64_t i = 0; i < block.rows; ++i)
    for (std::int64_t j = 0; j < block.cols; ++j)
      (s.transposed ? s.block(j, i) : s.block(i, j)) = inverse * static_cast<double>(block(i, j));
  s.gram.setZero(p, p);
  s.gram.selfadjointView<Eigen::Lower>().rankUpdate(s.block.transpose());

  s.tridiagonal.compute(s.gram);
  s.diagonal = s.tridiagonal.diagonal();
  s.off_diagonal = s.tridiagonal.subDiagonal();
  s.solver.computeFromTridiagonal(s.diagonal, s.off_diagonal, Eigen::EigenvaluesOnly);
  check(s.solver.info() == Eigen::Success, "spectral", "the eigenvalue iteration did not converge");
  const VectorXd& ascending = s.solver.eigenvalues();
  s.eigenvalues.assign(ascending.data(), ascending.data() + p);
  std::reverse(s.eigenvalues.begin(), s.eigenvalues.end());
  const double floor =
      static_cast<double>(p) * std::numeric_limits<double>::epsilon() * std::max(0.0, s.eigenvalues[0]);
  for (double& value : s.eigenvalues)
    if (!(value > floor)) value = 0;
}

void GramSolver::leading_vectors(int rank, std::span<float> left, std::span<float> right) {
  State& s = *state_;
  const Index p = s.block.cols();
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

  // The products Y v of two small outliers beside a huge one keep a little of the huge one: orthogonalise,
  // large first.
  s.long_vectors.noalias() = s.block * s.short_vectors;
  for (int i = 0; i < rank; ++i) {
    auto column = s.long_vectors.col(i);
    column.normalize();
    for (int pass = 0; pass < 2; ++pass) {
      for (int j = 0; j < i; ++j) column -= s.long_vectors.col(j).dot(column) * s.long_vectors.col(j);
      column.normalize();
    }
  }

  const MatrixXd& left_vectors = s.transposed ? s.short_vectors : s.long_vectors;
  const MatrixXd& right_vectors = s.transposed ? s.long_vectors : s.short_vectors;
  assert(left.size() == static_cast<std::size_t>(left_vectors.size()) &&
         right.size() == static_cast<std::size_t>(right_vectors.size()));
  Index at = 0;
  for (int i = 0; i < rank; ++i) {
    right_vectors.col(i).cwiseAbs().maxCoeff(&at);
    const double sign = right_vectors(at, i) < 0 ? -1.0 : 1.0;
    for (Index t = 0; t < left_vectors.rows(); ++t)
      left[static_cast<std::size_t>(i * left_vectors.rows() + t)] =
          static_cast<float>(sign * left_vectors(t, i));
    for (Index t = 0; t < right_vectors.rows(); ++t)
      right[static_cast<std::size_t>(i * right_vectors.rows() + t)] =
          static_cast<float>(sign * right_vectors(t, i));
  }
}

}  // namespace spectralkv
