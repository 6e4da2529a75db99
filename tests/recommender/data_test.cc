#include "data.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <numeric>
#include <string>
#include <vector>

#include "tiny_movielens.h"

namespace recommender {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class MovieLensTest : public ::testing::Test {
 protected:
  MovieLensTest() {
    std::filesystem::create_directories(directory_);
    write("user",
          "user_id:token\tage:token\tgender:token\toccupation:token\tzip_code:token\n"
          "7\t24\tM\tartist\t85711\n"
          "3\t53\tF\tother\t85799\n");
    write("item",
          "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\n"
          "10\tToy Story\t1995\tAnimation Comedy\n"
          "20\tHeat\t1996\tCrime\n"
          "30\tBabe\t1995\tComedy Animation\n");
    write("inter",
          "user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
          "3\t10\t4\t0\n"
          "7\t30\t3\t0\n"
          "3\t20\t5\t0\n");
  }
  ~MovieLensTest() override { std::filesystem::remove_all(directory_); }

  void write(const std::string& kind, const std::string& text) const {
    write_file(directory_, "ml-100k." + kind, text);
  }

  std::string error() const {
    try {
      read_movielens(directory_.string());
    } catch (const DataError& error) {
      return error.what();
    }
    return "";
  }

  const std::filesystem::path directory_ =
      std::filesystem::temp_directory_path() / ("winnow-movielens-" + std::to_string(::getpid()));
};

TEST_F(MovieLensTest, NumbersValuesInTheOrderOfTheFiles) {
  const MovieLens data = read_movielens(directory_.string());
  EXPECT_EQ(data.ratings(), 3);
  EXPECT_THAT(data.features[kUser].values, ElementsAre("7", "3"));
  EXPECT_THAT(data.features[kUser].codes, ElementsAre(1, 0, 1));
  EXPECT_THAT(data.features[kItem].codes, ElementsAre(0, 2, 1));
  EXPECT_THAT(data.features[kAge].values, ElementsAre("24", "53"));
  EXPECT_THAT(data.features[kGender].codes, ElementsAre(1, 0, 1));
  EXPECT_THAT(data.features[kOccupation].codes, ElementsAre(1, 0, 1));
  EXPECT_THAT(data.features[kReleaseYear].values, ElementsAre("1995", "1996"));
  EXPECT_THAT(data.features[kReleaseYear].codes, ElementsAre(0, 0, 1));
}

TEST_F(MovieLensTest, CutsZipsToAreas) {
  const MovieLens data = read_movielens(directory_.string());
  EXPECT_THAT(data.features[kZip].values, ElementsAre("857"));
  EXPECT_THAT(data.features[kZip].codes, ElementsAre(0, 0, 0));
}

TEST_F(MovieLensTest, GivesEachItemItsGenres) {
  const MovieLens data = read_movielens(directory_.string());
  EXPECT_THAT(data.genres, ElementsAre("Animation", "Comedy", "Crime"));
  EXPECT_THAT(data.item_genres, ElementsAre(ElementsAre(0, 1), ElementsAre(2), ElementsAre(0, 1)));
}

TEST_F(MovieLensTest, LikesFromFourStarsOn) {
  EXPECT_THAT(read_movielens(directory_.string()).liked, ElementsAre(1, 0, 1));
}

TEST_F(MovieLensTest, RefusesRatingsOfWhatIsNotListed) {
  write("inter", "user_id:token\titem_id:token\trating:float\n3\t10\t4\n4\t10\t4\n");
  EXPECT_THAT(error(), HasSubstr("ml-100k.inter:3: user_id: '4' is not listed"));
  write("inter", "user_id:token\titem_id:token\trating:float\n3\t11\t4\n");
  EXPECT_THAT(error(), HasSubstr("ml-100k.inter:2: item_id: '11' is not listed"));
}

TEST_F(MovieLensTest, RefusesRatingsOutsideOneToFive) {
  for (const char* stars : {"0", "5.5", "-1"}) {
    write("inter",
          std::string("user_id:token\titem_id:token\trating:float\n3\t10\t") + stars + "\n");
    EXPECT_THAT(error(), HasSubstr(std::string("ml-100k.inter:2: rating: ") + stars + " is not"));
  }
}

TEST_F(MovieLensTest, RefusesASecondRatingOfTheSameItem) {
  write("inter", "user_id:token\titem_id:token\trating:float\n3\t10\t4\n7\t10\t4\n3\t10\t2\n");
  EXPECT_THAT(error(), HasSubstr("ml-100k.inter:4: item_id: this user rates it a second time"));
}

TEST_F(MovieLensTest, RefusesAUserThatIsListedTwice) {
  write("user",
        "user_id:token\tage:token\tgender:token\toccupation:token\tzip_code:token\n"
        "7\t24\tM\tartist\t85711\n7\t24\tM\tartist\t85711\n");
  EXPECT_THAT(error(), HasSubstr("ml-100k.user:3: user_id: '7' is listed twice"));
}

TEST_F(MovieLensTest, RefusesAGenreThatStandsTwice) {
  write("item",
        "item_id:token\trelease_year:token\tclass:token_seq\n10\t1995\tCrime\n20\t1995\tCrime "
        "Comedy Crime\n"
        "30\t1995\tCrime\n");
  EXPECT_THAT(error(), HasSubstr("ml-100k.item:3: class: 'Crime' stands there twice"));
}

TEST_F(MovieLensTest, RefusesAColumnThatIsMissing) {
  write("user", "user_id:token\tage:token\n7\t24\n3\t53\n");
  EXPECT_THAT(error(), HasSubstr("ml-100k.user:1: no column is called 'gender'"));
}

TEST_F(MovieLensTest, SaysHowToFetchAFileThatIsMissing) {
  std::filesystem::remove(directory_ / "ml-100k.item");
  EXPECT_THAT(error(), HasSubstr("ml-100k.item is not there: ./dev demo-train fetches it"));
}

TEST(Shuffled, IsAPermutationThatTheSeedDecides) {
  std::vector<int64_t> values(100);
  std::iota(values.begin(), values.end(), int64_t{0});
  std::vector<int64_t> once = shuffled(values, 1);
  EXPECT_EQ(once, shuffled(values, 1));
  EXPECT_NE(once, shuffled(values, 2));
  EXPECT_NE(once, values);
  std::sort(once.begin(), once.end());
  EXPECT_EQ(once, values);
}

TEST(Shuffled, IsTheSameOnEveryMachine) {
  // The standard fixes the numbers of mt19937_64; the order was found by a run.
  EXPECT_THAT(shuffled({0, 1, 2, 3, 4, 5, 6, 7}, 5), ElementsAre(4, 1, 7, 0, 3, 2, 5, 6));
}

TEST(SplitRatings, PutsEachRatingOnOneSide) {
  const Split split = split_ratings(1000, 3);
  EXPECT_EQ(split.train.size(), 800u);
  EXPECT_EQ(split.test.size(), 200u);
  std::vector<int64_t> all = split.train;
  all.insert(all.end(), split.test.begin(), split.test.end());
  std::sort(all.begin(), all.end());
  for (int64_t i = 0; i < 1000; ++i) {
    ASSERT_EQ(all[static_cast<size_t>(i)], i);
  }
}

}  // namespace
}  // namespace recommender
