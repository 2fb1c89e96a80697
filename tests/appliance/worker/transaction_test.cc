#include "appliance/worker/transaction.h"

#include <gtest/gtest.h>

#include <string>

namespace bivalve::appliance {
namespace {

TEST(Transaction, KeepsAllRecipientsForWhoWantsThem) {
  Transaction transaction;
  for (int i = 0; i < 300; ++i) transaction.AddRecipient(std::to_string(i), "NOTIFY=NEVER", true);
  ASSERT_EQ(transaction.recipients.size(), 300u);
  EXPECT_EQ(transaction.recipients[299].path, "299");
  EXPECT_EQ(transaction.recipients[299].parameters, "NOTIFY=NEVER");
  EXPECT_EQ(transaction.recipients_left_out(), 0u);
}

TEST(Transaction, KeepsThoseThatTheLogNamesOtherwise) {
  Transaction transaction;
  for (int i = 0; i < 300; ++i) transaction.AddRecipient("r", "", false);
  EXPECT_EQ(transaction.recipients.size(), Transaction::kRecipientsLogged);
  EXPECT_EQ(transaction.recipients_accepted, 300u);
  EXPECT_EQ(transaction.recipients_left_out(), 200u);
}

// A client can make a session hold only a limited amount, and the last recipients are left out.
TEST(Transaction, KeepsNoMoreThanItsLimit) {
  Transaction transaction;
  const std::string path(900, 'r');
  for (int i = 0; i < 2000; ++i) transaction.AddRecipient(path, std::string(100, 'p'), true);
  EXPECT_EQ(transaction.recipients.size(), Transaction::kRecipientBytesMax / 1000);
  transaction.AddRecipient("short", "", true);
  EXPECT_EQ(transaction.recipients.back().path, path);
  EXPECT_EQ(transaction.recipients_left_out(), 2001 - transaction.recipients.size());
}

}  // namespace
}  // namespace bivalve::appliance
