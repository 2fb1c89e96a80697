#include "core/linked_list.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <vector>

namespace bivalve::core {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

struct Item : Linked<Item> {
  int name = 0;
};

class LinkedListTest : public testing::Test {
 protected:
  LinkedListTest() {
    for (size_t i = 0; i < items_.size(); ++i) items_[i].name = static_cast<int>(i);
  }
  std::vector<int> Names() const {
    std::vector<int> names;
    for (const Item* item : list_) names.push_back(item->name);
    EXPECT_EQ(names.size(), list_.size());
    return names;
  }

  std::array<Item, 4> items_;
  LinkedList<Item> list_;
};

TEST_F(LinkedListTest, KeepsTheOrderOfAdding) {
  EXPECT_TRUE(list_.empty());
  for (const int i : {2, 0, 1}) list_.Append(items_[static_cast<size_t>(i)]);
  EXPECT_FALSE(list_.empty());
  EXPECT_THAT(Names(), ElementsAre(2, 0, 1));
}

TEST_F(LinkedListTest, RemovesAtBothEndsAndInTheMiddle) {
  for (Item& item : items_) list_.Append(item);
  list_.Remove(items_[1]);
  EXPECT_THAT(Names(), ElementsAre(0, 2, 3));
  list_.Remove(items_[0]);
  EXPECT_THAT(Names(), ElementsAre(2, 3));
  list_.Remove(items_[3]);
  EXPECT_THAT(Names(), ElementsAre(2));
  list_.Remove(items_[2]);
  EXPECT_THAT(Names(), IsEmpty());
}

TEST_F(LinkedListTest, TakesAnItemAgain) {
  list_.Append(items_[0]);
  list_.Append(items_[1]);
  list_.Remove(items_[0]);
  list_.Append(items_[0]);
  EXPECT_THAT(Names(), ElementsAre(1, 0));
}

}  // namespace
}  // namespace bivalve::core
