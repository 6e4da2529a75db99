// MovieLens 100k for a recommender: who rated what, and the features of both.
//
// The files are RecBole's ml-100k.inter, ml-100k.user and ml-100k.item (typed_table.h has their
// format). Each value of a feature has a code, which is the row of its embedding table; codes count
// from 0 in the order in which the values appear in the files.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "typed_table.h"

namespace recommender {

/// The features that have one value for each rating.
enum Feature : size_t { kUser, kItem, kAge, kGender, kOccupation, kZip, kReleaseYear };
inline constexpr std::array<const char*, 7> kFeatureNames = {
    "user", "item", "age", "gender", "occupation", "zip", "release_year"};

struct FeatureColumn {
  std::vector<std::string> values;  ///< by code
  std::vector<int64_t> codes;       ///< of each rating
};

struct MovieLens {
  std::array<FeatureColumn, kFeatureNames.size()> features;
  std::vector<std::string> genres;                ///< by code
  std::vector<std::vector<int64_t>> item_genres;  ///< codes, by the code of the item; never empty
  std::vector<uint8_t> liked;                     ///< of each rating: 1 from four stars on

  int64_t ratings() const noexcept { return static_cast<int64_t>(liked.size()); }
};

/// Reads the three files. Only the first three characters of the zip are kept, an area, because
/// most full zips have only one user.
///
/// DataError with file, line and column: as TypedTable; a user or an item that is listed twice, or
/// rated without being listed; a rating outside 1 to 5; the same user and item rated twice; a genre
/// twice in one item. If a file is missing, the message says how to fetch it.
MovieLens read_movielens(const std::string& directory);

/// Which ratings a model learns from and which it is judged by.
struct Split {
  std::vector<int64_t> train;
  std::vector<int64_t> test;
};

/// Four fifths and one fifth of [0, ratings), at random; a seed gives the same split on every
/// machine.
Split split_ratings(int64_t ratings, uint64_t seed);

/// A permutation of `values` that depends on the seed only.
std::vector<int64_t> shuffled(std::vector<int64_t> values, uint64_t seed);

}  // namespace recommender
