// The twin of cuda/kv/eigen_cusolver.cu.
#define EIGEN_MPL2_ONLY
#include <Eigen/Eigenvalues>

#include "cuda/kv/eigen.h"

namespace spectralkv::device_kv {

struct BatchedEigen::State {};
BatchedEigen::BatchedEigen() = default;
BatchedEigen::~BatchedEigen() = default;

void BatchedEigen::solve(double* matrices, double* values, int count, int p, device::Stream) {
  for (int i = 0; i < count; ++i) {
    Eigen::Map<Eigen::MatrixXd> matrix(matrices + static_cast<std::ptrdiff_t>(i) * p * p, p, p);
    const Eigen::SelfAdjointEigenSolver<Eigen::MatrixXd> solver(matrix);
    Eigen::Map<Eigen::VectorXd>(values + static_cast<std::ptrdiff_t>(i) * p, p) = solver.eigenvalues();
    matrix = solver.eigenvectors();  // columns of a column-major matrix: one vector a row of ours
  }
}

}  // namespace spectralkv::device_kv
