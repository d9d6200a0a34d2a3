// What an atom shows to those around it, as a row of eight numbers: where it moved, and what it sends.
//
// A block of edges takes the rows of its neighbours whole and turns them into lanes, which is far quicker than to
// gather number by number; what goes back to the neighbours is added in the same way.

#pragma once

#include <algorithm>
#include <utility>
#include <vector>

#include "numbers.h"

namespace openmm_nti {

constexpr int kRow = 8, kSent = 4;  // numbers of a row; of these, displacement 0 to 2 and gates from 4 on

template <class Place, int... N>
inline Lanes mixed_lanes(Lanes a, Lanes b, Place, std::integer_sequence<int, N...>) {
  return __builtin_shufflevector(a, b, Place::of(N)...);
}
template <class Place>
inline Lanes mixed_lanes(Lanes a, Lanes b) {
  return mixed_lanes(a, b, Place{}, std::make_integer_sequence<int, kWidth>{});
}
// Of each four numbers of two vectors: alternately those from `First` on; two of one, then two of the other.
template <int First>
struct Alternate {
  static constexpr int of(int n) { return n / 4 * 4 + First + n % 4 / 2 + n % 2 * kWidth; }
};
template <int First>
struct InPairs {
  static constexpr int of(int n) { return n / 4 * 4 + First + n % 2 + n % 4 / 2 * kWidth; }
};
// Of each eight: four of one, then four of the other.
template <int First>
struct InFours {
  static constexpr int of(int n) { return n / 8 * 8 + First + n % 4 + n % 8 / 4 * kWidth; }
};

// Turns 8 x 8 numbers, or two of these beside each other.
inline void transpose(Lanes (&x)[kRow]) {
  Lanes y[kRow];
  for (int n = 0; n < kRow; n += 2) {
    y[n] = mixed_lanes<Alternate<0>>(x[n], x[n + 1]);
    y[n + 1] = mixed_lanes<Alternate<2>>(x[n], x[n + 1]);
  }
  for (int n = 0; n < kRow; n += 4)
    for (int m = 0; m < 2; ++m) {
      x[n + 2 * m] = mixed_lanes<InPairs<0>>(y[n + m], y[n + 2 + m]);
      x[n + 2 * m + 1] = mixed_lanes<InPairs<2>>(y[n + m], y[n + 2 + m]);
    }
  for (int n = 0; n < kRow / 2; ++n) {
    y[n] = mixed_lanes<InFours<0>>(x[n], x[n + 4]);
    y[n + 4] = mixed_lanes<InFours<4>>(x[n], x[n + 4]);
  }
  std::copy_n(y, kRow, x);
}

inline Row row_at(const float* from) {
  Row x;
  __builtin_memcpy(&x, from, sizeof(x));
  return x;
}
inline void add_row_at(float* to, Row x) {
  x += row_at(to);
  __builtin_memcpy(to, &x, sizeof(x));
}
#if defined(__AVX512F__)
inline Lanes beside(Row a, Row b) {
  return __builtin_shufflevector(a, b, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
}
inline void add_both(float* one, float* other, Lanes x) {
  add_row_at(one, first_half(x));
  add_row_at(other, second_half(x));
}
#endif

// The atoms of configuration b as others see them: displacements (3, B, N), and n_gates numbers sent, the second half
// of gates (B, N, 2 n_gates); no gates, none sent.
template <class V>
class Neighbours {
 public:
  Neighbours(const Shape& shape, const Pass& pass, int64_t b, Input moved, Input gates, int64_t n_gates)
      : shape_(shape), index_(pass.index), first_(b * shape.n_atoms), moved_(moved), gates_(gates), n_gates_(n_gates),
        by_moved_(pass.gradients[1]), by_gates_(n_gates > 0 ? pass.gradients[5] : nullptr) {
    if constexpr (std::is_same_v<V, Lanes>) {
      rows_.assign((shape.n_atoms + 1) * kRow, 0.0f);  // the last one is of no atom
      for (int64_t i = 0; i < shape.n_atoms; ++i) {
        for (int c = 0; c < 3; ++c) rows_[i * kRow + c] = moved.value[c * shape.all() + first_ + i];
        for (int64_t q = 0; q < n_gates; ++q)
          rows_[i * kRow + kSent + q] = gates.value[((first_ + i) * 2 + 1) * n_gates + q];
      }
      if (wants_more()) by_rows_.assign(rows_.size(), 0.0f);
    }
  }

  // What the block of edges from `at` on sees.
  void see(int64_t at, int count, V (&seen)[kRow]) const {
    if constexpr (std::is_same_v<V, Lanes>) {
      const auto row = [&](int lane) { return row_at(rows_.data() + place(at, lane, count)); };
#if defined(__AVX512F__)
      for (int n = 0; n < kRow; ++n) seen[n] = beside(row(n), row(n + kRow));
#else
      for (int n = 0; n < kRow; ++n) seen[n] = row(n);
#endif
      transpose(seen);
    } else {
      const int64_t* index = index_ + at;
      for (int c = 0; c < 3; ++c) seen[c] = Read<V>::gather(moved_, c * shape_.all(), 1, index, count);
      for (int64_t q = 0; q < n_gates_; ++q)
        seen[kSent + q] = Read<V>::gather(gates_, n_gates_ + q, 2 * n_gates_, index, count);
    }
  }

  bool wants_more() const { return by_moved_ != nullptr || by_gates_ != nullptr; }

  // Adds the gradients by what the block saw; call it where it `wants_more`.
  void add(int64_t at, int count, Lanes (&by_seen)[kRow]) {
    if constexpr (std::is_same_v<V, Lanes>) {
      const auto row = [&](int lane) { return by_rows_.data() + place(at, lane, count); };
      transpose(by_seen);
#if defined(__AVX512F__)
      for (int n = 0; n < kRow; ++n) add_both(row(n), row(n + kRow), by_seen[n]);
#else
      for (int n = 0; n < kRow; ++n) add_row_at(row(n), by_seen[n]);
#endif
    } else {
      const int64_t* index = index_ + at;
      for (int c = 0; c < 3 && by_moved_ != nullptr; ++c)
        add_scattered(by_moved_ + c * shape_.all(), 1, index, by_seen[c], count);
      for (int64_t q = 0; q < n_gates_ && by_gates_ != nullptr; ++q)
        add_scattered(by_gates_ + n_gates_ + q, 2 * n_gates_, index, by_seen[kSent + q], count);
    }
  }

  // Writes what was added to the gradients.
  void finish() const {
    if (by_rows_.empty()) return;
    for (int64_t i = 0; i < shape_.n_atoms; ++i) {
      for (int c = 0; c < 3 && by_moved_ != nullptr; ++c)
        by_moved_[c * shape_.all() + first_ + i] += by_rows_[i * kRow + c];
      for (int64_t q = 0; q < n_gates_ && by_gates_ != nullptr; ++q)
        by_gates_[((first_ + i) * 2 + 1) * n_gates_ + q] += by_rows_[i * kRow + kSent + q];
    }
  }

 private:
  int64_t place(int64_t at, int lane, int count) const {
    if (lane >= count) return shape_.n_atoms * kRow;
    return (index_[at + lane] - first_) * kRow;
  }

  const Shape& shape_;
  const int64_t* const index_;
  const int64_t first_;
  const Input moved_, gates_;
  const int64_t n_gates_;
  float *const by_moved_, *const by_gates_;
  std::vector<float> rows_, by_rows_;
};

}  // namespace openmm_nti
