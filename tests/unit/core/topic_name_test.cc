// The names of topics, the patterns of subscriptions, and what a slot says about them.
#include "ivmq/internal/topic_name.h"

#include <array>
#include <optional>
#include <string>
#include <string_view>

#include <gtest/gtest.h>

namespace ivmq {
namespace {

TEST(TopicNameTest, ANameHasOneOrMoreLevels) {
  for (const std::string_view name : {"a", "camera/front", "a/b/c/d", "größe", "a.b-c_d"}) {
    EXPECT_TRUE(CheckTopicName(name).ok()) << name;
    EXPECT_TRUE(CheckTopicPattern(name).ok()) << name;
  }
  EXPECT_TRUE(CheckTopicName(std::string(kMaxTopicName, 'x')).ok());
}

TEST(TopicNameTest, WhatIsNoNameIsRefused) {
  const std::string too_long(kMaxTopicName + 1, 'x');
  for (const std::string_view name :
       {std::string_view(), std::string_view("/"), std::string_view("/a"), std::string_view("a/"),
        std::string_view("a//b"), std::string_view("a b"), std::string_view("a\nb"),
        std::string_view("a\0b", 3), std::string_view("\xff"), std::string_view(too_long)}) {
    EXPECT_EQ(CheckTopicName(name).code(), StatusCode::kInvalidArgument) << name;
    EXPECT_EQ(CheckTopicPattern(name).code(), StatusCode::kInvalidArgument) << name;
  }
}

TEST(TopicNameTest, OnlyPatternsHaveStars) {
  for (const std::string_view pattern : {"*", "**", "a/*", "*/b", "a/*/c", "a/**", "*/**"}) {
    EXPECT_EQ(CheckTopicName(pattern).code(), StatusCode::kInvalidArgument) << pattern;
    EXPECT_TRUE(CheckTopicPattern(pattern).ok()) << pattern;
  }
  for (const std::string_view pattern : {"a*", "*a", "***", "a/b*", "**/a", "a/**/b"}) {
    EXPECT_EQ(CheckTopicPattern(pattern).code(), StatusCode::kInvalidArgument) << pattern;
  }
}

TEST(TopicNameTest, AStarIsOneLevelAndTwoAreAnyNumber) {
  struct Case {
    std::string_view pattern;
    std::string_view name;
    bool matches;
  };
  for (const auto& [pattern, name, matches] :
       std::array{Case{"a", "a", true},          Case{"a", "b", false},
                  Case{"a", "aa", false},        Case{"aa", "a", false},
                  Case{"a", "a/b", false},       Case{"a/b", "a", false},
                  Case{"a/b", "a/b", true},      Case{"a/b", "a/c", false},
                  Case{"*", "a", true},          Case{"*", "a/b", false},
                  Case{"*/b", "a/b", true},      Case{"*/b", "a/c", false},
                  Case{"a/*", "a", false},       Case{"a/*", "a/b", true},
                  Case{"a/*", "a/b/c", false},   Case{"a/*/c", "a/b/c", true},
                  Case{"a/*/c", "a/b/d", false}, Case{"**", "a", true},
                  Case{"**", "a/b/c", true},     Case{"a/**", "a", true},
                  Case{"a/**", "a/b", true},     Case{"a/**", "a/b/c", true},
                  Case{"a/**", "b", false},      Case{"a/**", "ab", false},
                  Case{"*/**", "a", true},       Case{"a/*/**", "a", false},
                  Case{"a/*/**", "a/b/c", true}}) {
    EXPECT_EQ(TopicMatches(pattern, name), matches) << pattern << ' ' << name;
  }
}

TEST(TopicNameTest, WhatASlotSaysIsReadAsItWasWritten) {
  const PeerTopic published{.id = 7, .name = "camera/front", .history = 3};
  EXPECT_EQ(TopicText(published), "p 7 3 camera/front");
  EXPECT_EQ(ParseTopicText(TopicText(published)), published);
  for (const WhenSlow when_slow : {WhenSlow::kDropOldest, WhenSlow::kDropNewest, WhenSlow::kWait}) {
    const PeerTopic subscribed{.is_subscription = true,
                               .id = 4'294'967'295,
                               .name = "camera/**",
                               .history = 0,
                               .when_slow = when_slow,
                               .depth = kMaxTopicDepth};
    EXPECT_EQ(ParseTopicText(TopicText(subscribed)), subscribed);
  }
  EXPECT_EQ(ParseTopicText("s 1 w 8 2 a"), (PeerTopic{.is_subscription = true,
                                                      .id = 1,
                                                      .name = "a",
                                                      .history = 2,
                                                      .when_slow = WhenSlow::kWait,
                                                      .depth = 8}));
}

TEST(TopicNameTest, WhatNoCorrectPeerSaysIsNoTopic) {
  for (const std::string_view text : {"",
                                      "p",
                                      "p 1",
                                      "p 1 0",
                                      "p 1 0 ",
                                      "p x 0 a",
                                      "p 1 1025 a",
                                      "p 4294967296 0 a",
                                      "p -1 0 a",
                                      "p 1 0 a/",
                                      "p 1 0 *",
                                      "p 1 0 a b",
                                      "q 1 0 a",
                                      "s 1 o 0 0 a",
                                      "s 1 o 1025 0 a",
                                      "s 1 x 1 0 a",
                                      "s 1 on 1 0 a",
                                      "s 1  1 0 a",
                                      "s 1 o 1 1025 a",
                                      "s 1 o 1 0 a*"}) {
    EXPECT_EQ(ParseTopicText(text), std::nullopt) << text;
  }
}

}  // namespace
}  // namespace ivmq
