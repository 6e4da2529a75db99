#include "data.h"

#include <algorithm>
#include <filesystem>
#include <functional>
#include <numeric>
#include <random>
#include <set>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <utility>

namespace recommender {
namespace {

constexpr double kLikedFrom = 4;
constexpr size_t kZipAreaLength = 3;

/// Numbers values in the order of their first appearance.
class Vocabulary {
 public:
  /// The code of `value`; a new code if it was not seen before.
  int64_t code(std::string_view value) {
    const auto [entry, added] = codes_.try_emplace(std::string(value), size());
    if (added) {
      values_.emplace_back(value);
    }
    return entry->second;
  }

  /// The code, or -1.
  int64_t find(std::string_view value) const {
    const auto entry = codes_.find(std::string(value));
    return entry == codes_.end() ? -1 : entry->second;
  }

  int64_t size() const { return static_cast<int64_t>(values_.size()); }
  const std::vector<std::string>& values() const { return values_; }

 private:
  std::unordered_map<std::string, int64_t> codes_;
  std::vector<std::string> values_;
};

/// The values of one feature and the code of each user or item.
struct Attribute {
  std::vector<std::string> values;
  std::vector<int64_t> codes;
};

Attribute attribute(const TypedTable& table, std::string_view name,
                    size_t length = std::string_view::npos) {
  const size_t column = table.column(name, "token");
  Vocabulary vocabulary;
  Attribute result;
  for (size_t row = 0; row < table.rows(); ++row) {
    result.codes.push_back(vocabulary.code(table.at(row, column).substr(0, length)));
  }
  result.values = vocabulary.values();
  return result;
}

/// The ids of a table of users or items; their codes are their row numbers.
Vocabulary ids(const TypedTable& table, std::string_view name) {
  const size_t column = table.column(name, "token");
  Vocabulary vocabulary;
  for (size_t row = 0; row < table.rows(); ++row) {
    if (vocabulary.find(table.at(row, column)) >= 0) {
      table.fail(row, column, "'" + std::string(table.at(row, column)) + "' is listed twice");
    }
    vocabulary.code(table.at(row, column));
  }
  return vocabulary;
}

/// The codes of the ids that the ratings name in `column`.
FeatureColumn rated(const TypedTable& ratings, std::string_view name, const Vocabulary& known) {
  const size_t column = ratings.column(name, "token");
  FeatureColumn result{known.values(), {}};
  result.codes.reserve(ratings.rows());
  for (size_t row = 0; row < ratings.rows(); ++row) {
    result.codes.push_back(known.find(ratings.at(row, column)));
    if (result.codes.back() < 0) {
      ratings.fail(row, column, "'" + std::string(ratings.at(row, column)) + "' is not listed");
    }
  }
  return result;
}

/// The features of the user or item of each rating.
FeatureColumn looked_up(const std::vector<int64_t>& owners, Attribute attribute) {
  FeatureColumn result{std::move(attribute.values), {}};
  result.codes.reserve(owners.size());
  for (const int64_t owner : owners) {
    result.codes.push_back(attribute.codes[static_cast<size_t>(owner)]);
  }
  return result;
}

void read_genres(const TypedTable& items, MovieLens& data) {
  const size_t column = items.column("class", "token_seq");
  Vocabulary genres;
  for (size_t row = 0; row < items.rows(); ++row) {
    std::set<int64_t> codes;
    for (const std::string_view word : items.words(row, column)) {
      if (!codes.insert(genres.code(word)).second) {
        items.fail(row, column, "'" + std::string(word) + "' stands there twice");
      }
    }
    data.item_genres.emplace_back(codes.begin(), codes.end());
  }
  data.genres = genres.values();
}

std::vector<uint8_t> read_labels(const TypedTable& ratings) {
  const size_t column = ratings.column("rating", "float");
  std::vector<uint8_t> liked;
  liked.reserve(ratings.rows());
  for (size_t row = 0; row < ratings.rows(); ++row) {
    const double stars = ratings.number(row, column);
    if (stars < 1 || stars > 5) {
      ratings.fail(row, column, std::string(ratings.at(row, column)) + " is not from 1 to 5");
    }
    liked.push_back(stars >= kLikedFrom ? 1 : 0);
  }
  return liked;
}

/// If a pair were on both sides of a split, the model would see the answer.
void check_pairs_are_unique(const TypedTable& ratings, const MovieLens& data) {
  const auto items = static_cast<int64_t>(data.features[kItem].values.size());
  std::unordered_set<int64_t> seen;
  for (size_t row = 0; row < ratings.rows(); ++row) {
    const int64_t user = data.features[kUser].codes[row];
    if (!seen.insert(user * items + data.features[kItem].codes[row]).second) {
      ratings.fail(row, ratings.column("item_id", "token"), "this user rates it a second time");
    }
  }
}

TypedTable open(const std::string& directory, const char* name) {
  const std::string path = (std::filesystem::path(directory) / name).string();
  if (!std::filesystem::exists(path)) {
    throw DataError(path + " is not there: ./dev demo-train fetches it");
  }
  return TypedTable::read(path);
}

}  // namespace

MovieLens read_movielens(const std::string& directory) {
  const TypedTable users = open(directory, "ml-100k.user");
  const TypedTable items = open(directory, "ml-100k.item");
  const TypedTable ratings = open(directory, "ml-100k.inter");

  MovieLens data;
  auto& features = data.features;
  features[kUser] = rated(ratings, "user_id", ids(users, "user_id"));
  features[kItem] = rated(ratings, "item_id", ids(items, "item_id"));
  features[kAge] = looked_up(features[kUser].codes, attribute(users, "age"));
  features[kGender] = looked_up(features[kUser].codes, attribute(users, "gender"));
  features[kOccupation] = looked_up(features[kUser].codes, attribute(users, "occupation"));
  features[kZip] = looked_up(features[kUser].codes, attribute(users, "zip_code", kZipAreaLength));
  features[kReleaseYear] = looked_up(features[kItem].codes, attribute(items, "release_year"));
  read_genres(items, data);
  data.liked = read_labels(ratings);
  check_pairs_are_unique(ratings, data);
  return data;
}

Split split_ratings(int64_t ratings, uint64_t seed) {
  std::vector<int64_t> all(static_cast<size_t>(ratings));
  std::iota(all.begin(), all.end(), int64_t{0});
  all = shuffled(std::move(all), seed);
  const auto middle = all.begin() + ratings / 5 * 4;
  return {.train = {all.begin(), middle}, .test = {middle, all.end()}};
}

std::vector<int64_t> shuffled(std::vector<int64_t> values, uint64_t seed) {
  // By hand, because std::shuffle differs between standard libraries. The remainder of 64 random
  // bits has no bias that anyone could notice.
  std::mt19937_64 random(seed);
  for (size_t left = values.size(); left > 1; --left) {
    std::swap(values[left - 1], values[random() % left]);
  }
  return values;
}

}  // namespace recommender
