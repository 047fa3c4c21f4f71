#include <manta/version.h>

#include <gtest/gtest.h>

#include <string>

TEST(VersionTest, LibraryMatchesHeaders)
{
    EXPECT_STREQ(manta_version(), MANTA_VERSION_STRING);
    EXPECT_EQ(std::string(manta_version()), std::to_string(MANTA_VERSION_MAJOR) + "." +
                                                std::to_string(MANTA_VERSION_MINOR) + "." +
                                                std::to_string(MANTA_VERSION_PATCH));
}
