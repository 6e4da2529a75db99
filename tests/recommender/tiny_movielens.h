// A data set of the same form as MovieLens, made up and small, which tests write where they like.
#pragma once

#include <filesystem>
#include <fstream>
#include <string>

namespace recommender {

/// Writes `text` to directory/name.
inline void write_file(const std::filesystem::path& directory, const std::string& name,
                       const std::string& text) {
  std::ofstream file(directory / name, std::ios::binary);
  file << text;
}

/// Writes users users and items items, where every user rates every item: with five stars where
/// both numbers are even or both odd, with two otherwise.
inline void write_tiny_movielens(const std::filesystem::path& directory, int users, int items) {
  std::filesystem::create_directories(directory);
  std::string user_text =
      "user_id:token\tage:token\tgender:token\toccupation:token\tzip_code:token\n";
  std::string item_text =
      "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\n";
  std::string rating_text = "user_id:token\titem_id:token\trating:float\ttimestamp:float\n";
  for (int user = 0; user < users; ++user) {
    const std::string id = "u" + std::to_string(user);
    user_text += id + "\t" + std::to_string(20 + user % 5) + (user % 2 == 0 ? "\tF" : "\tM") +
                 "\tartist\t123" + std::to_string(10 + user) + "\n";
    for (int item = 0; item < items; ++item) {
      rating_text +=
          id + "\ti" + std::to_string(item) + ((user + item) % 2 == 0 ? "\t5" : "\t2") + "\t1\n";
    }
  }
  for (int item = 0; item < items; ++item) {
    item_text += "i" + std::to_string(item) + "\tA Title\t" + std::to_string(1990 + item % 3) +
                 (item % 2 == 0 ? "\tDrama\n" : "\tComedy Drama\n");
  }
  write_file(directory, "ml-100k.user", user_text);
  write_file(directory, "ml-100k.item", item_text);
  write_file(directory, "ml-100k.inter", rating_text);
}

}  // namespace recommender
