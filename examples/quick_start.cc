// Quick start: prunes the least important blocks of two embedding tables.
#include <torch/torch.h>

#include <iostream>

#include "winnow/torch/data_norm_sparsifier.h"

int main() {
  torch::nn::Embedding users(1000, 64), items(5000, 64);

  // Prune 80 % of the 1 x 4 blocks: those with the smallest mean magnitude.
  winnow::DataNormSparsifier sparsifier({.sparsity_level = 0.8, .sparse_block_shape = {1, 4}});
  sparsifier.add_data("users", users);
  sparsifier.add_data("items", items, {.config = {{"sparsity_level", 0.9}}});

  sparsifier.step();         // computes the masks, as often as you like
  sparsifier.squash_mask();  // applies them: the modules' own weights are sparse now

  const auto user_zeros = users->weight.eq(0).sum().item<int64_t>();
  const auto item_zeros = items->weight.eq(0).sum().item<int64_t>();
  std::cout << user_zeros << " of " << users->weight.numel() << " values of users are 0\n"
            << item_zeros << " of " << items->weight.numel() << " values of items are 0\n";
  return user_zeros == 51'200 && item_zeros == 288'000 ? 0 : 1;
}
