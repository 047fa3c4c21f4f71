// What the photos sample reads and writes: orientation, damaged files, formats.
extern "C" {
#include "photos/exif.h"
#include "photos/picture.h"
}

#include <gtest/gtest.h>

#include <cstdio>
#include <cstring>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

#include <unistd.h>

namespace
{

typedef std::vector<uint8_t> bytes_t;

class PictureTest : public testing::Test
{
  protected:
    void SetUp() override
    {
        char name[] = "/tmp/photos_test_XXXXXX";
        ASSERT_NE(mkdtemp(name), nullptr);
        m_folder = name;
    }
    void TearDown() override
    {
        const std::string command = "rm -rf '" + m_folder + "'";
        EXPECT_EQ(system(command.c_str()), 0);
    }
    std::string path(const char *name) { return m_folder + "/" + name; }
    std::string write(const char *name, const bytes_t &data)
    {
        std::ofstream file(path(name), std::ios::binary);
        file.write(reinterpret_cast<const char *>(data.data()),
                   static_cast<std::streamsize>(data.size()));
        return path(name);
    }
    bytes_t read(const std::string &from)
    {
        std::ifstream file(from, std::ios::binary);
        return bytes_t(std::istreambuf_iterator<char>(file), {});
    }
    std::string m_folder;
    char m_error[PICTURE_ERROR_BYTES] = "";
};

picture_info_t info_of(int width, int height, int channels, picture_format_t format)
{
    return {width, height, channels, format, 1};
}

// An Exif block with one entry among others.
bytes_t exif(bool big_endian, int orientation)
{
    bytes_t e = {'E', 'x', 'i', 'f', 0, 0};
    auto u16 = [&](unsigned v) {
        const uint8_t high = static_cast<uint8_t>(v >> 8), low = static_cast<uint8_t>(v);
        e.push_back(big_endian ? high : low);
        e.push_back(big_endian ? low : high);
    };
    auto u32 = [&](unsigned v) {
        u16(big_endian ? v >> 16 : v & 0xffff);
        u16(big_endian ? v & 0xffff : v >> 16);
    };
    e.push_back(big_endian ? 'M' : 'I');
    e.push_back(big_endian ? 'M' : 'I');
    u16(42);
    u32(10); // the directory, after two bytes of nothing
    u16(0);
    u16(2);
    u16(0x10f), u16(2), u32(4), u32(0x41424300);
    u16(0x112), u16(3), u32(1), u16(static_cast<unsigned>(orientation)), u16(0);
    u32(0);
    return e;
}

TEST(ExifTest, OrientationInBothByteOrders)
{
    for (bool big_endian : {false, true}) {
        for (int orientation = 0; orientation <= 9; orientation++) {
            const bytes_t e = exif(big_endian, orientation);
            const bool fine = orientation >= 1 && orientation <= 8;
            EXPECT_EQ(exif_orientation(e.data(), e.size()), fine ? orientation : 1);
        }
    }
}

// Never out of bounds (the sanitizers look), whatever is in it or missing.
TEST(ExifTest, NonsenseIsUpright)
{
    std::mt19937 rng(1);
    for (bool big_endian : {false, true}) {
        const bytes_t whole = exif(big_endian, 6);
        for (size_t size = 0; size < whole.size() - 6; size++) {
            const bytes_t part(whole.begin(), whole.begin() + static_cast<long>(size));
            EXPECT_EQ(exif_orientation(part.data(), part.size()), 1) << size;
        }
        for (int k = 0; k < 20000; k++) {
            bytes_t wrong = whole;
            for (int i = 0; i < 3; i++)
                wrong[6 + rng() % (wrong.size() - 6)] = static_cast<uint8_t>(rng());
            const int orientation = exif_orientation(wrong.data(), wrong.size());
            EXPECT_GE(orientation, 1);
            EXPECT_LE(orientation, 8);
        }
    }
}

TEST_F(PictureTest, PngComesBackAsItWas)
{
    std::mt19937 rng(2);
    for (int channels = 1; channels <= 4; channels++) {
        const picture_info_t info = info_of(31, 17, channels, PICTURE_PNG);
        bytes_t pixels(picture_bytes(info)), back(pixels.size());
        for (uint8_t &p : pixels)
            p = static_cast<uint8_t>(rng());
        uint64_t size = 0;
        const std::string file = path("a.png");
        ASSERT_TRUE(picture_encode(file.c_str(), info, 90, pixels.data(), &size, m_error))
            << m_error;
        EXPECT_EQ(size, read(file).size());
        picture_info_t found;
        ASSERT_TRUE(picture_probe(file.c_str(), &found, m_error)) << m_error;
        EXPECT_EQ(memcmp(&found, &info, sizeof info), 0);
        ASSERT_TRUE(picture_decode(file.c_str(), found, back.data(), m_error)) << m_error;
        EXPECT_EQ(back, pixels);
    }
}

// A picture of four flat quarters, turned as cameras do, comes back upright.
TEST_F(PictureTest, TurnedJpegIsSetUpright)
{
    const int width = 64, height = 32;
    const int quarters[4] = {20, 90, 160, 230}; // above left, above right, below left, below right
    bytes_t upright(width * height);
    for (int y = 0; y < height; y++) {
        for (int x = 0; x < width; x++)
            upright[static_cast<size_t>(y * width + x)] =
                static_cast<uint8_t>(quarters[(y >= height / 2) * 2 + (x >= width / 2)]);
    }
    for (int turned = 1; turned <= 8; turned++) {
        // What the camera stored: row 0 is the upright picture's top, right, bottom or left side.
        const bool lying = turned >= 5;
        const int w = lying ? height : width, h = lying ? width : height;
        bytes_t stored(upright.size());
        for (int y = 0; y < h; y++) {
            for (int x = 0; x < w; x++) {
                int ux = lying ? y : x, uy = lying ? x : y; // before mirroring
                if (turned == 2 || turned == 3 || turned == 6 || turned == 7) ux = width - 1 - ux;
                if (turned == 3 || turned == 4 || turned == 7 || turned == 8) uy = height - 1 - uy;
                stored[static_cast<size_t>(y * w + x)] =
                    upright[static_cast<size_t>(uy * width + ux)];
            }
        }
        uint64_t size = 0;
        ASSERT_TRUE(picture_encode(path("t.jpg").c_str(), info_of(w, h, 1, PICTURE_JPEG), 100,
                                   stored.data(), &size, m_error))
            << m_error;
        bytes_t file = read(path("t.jpg")), segment = exif(turned % 2, turned);
        const size_t length = segment.size() + 2;
        segment.insert(segment.begin(), {0xff, 0xe1, static_cast<uint8_t>(length >> 8),
                                         static_cast<uint8_t>(length)});
        file.insert(file.begin() + 2, segment.begin(), segment.end());
        write("t.jpg", file);

        picture_info_t info;
        ASSERT_TRUE(picture_probe(path("t.jpg").c_str(), &info, m_error)) << m_error;
        EXPECT_EQ(info.width, width);
        EXPECT_EQ(info.height, height);
        EXPECT_EQ(info.turned, turned);
        bytes_t pixels(picture_bytes(info));
        ASSERT_TRUE(picture_decode(path("t.jpg").c_str(), info, pixels.data(), m_error)) << m_error;
        for (int k = 0; k < 4; k++) {
            const int x = width / 4 + (k % 2) * width / 2, y = height / 4 + (k / 2) * height / 2;
            EXPECT_NEAR(pixels[static_cast<size_t>(y * width + x)], quarters[k], 3)
                << "turned " << turned;
        }
    }
}

// Cut anywhere, or with bytes changed: a picture or an error in words, never a crash.
TEST_F(PictureTest, DamagedFiles)
{
    std::mt19937 rng(3);
    for (picture_format_t format : {PICTURE_JPEG, PICTURE_PNG}) {
        const picture_info_t info = info_of(40, 30, 3, format);
        bytes_t pixels(picture_bytes(info));
        for (size_t i = 0; i < pixels.size(); i++)
            pixels[i] = static_cast<uint8_t>(i * i >> 6);
        uint64_t size = 0;
        ASSERT_TRUE(picture_encode(path("d").c_str(), info, 90, pixels.data(), &size, m_error));
        const bytes_t whole = read(path("d"));
        auto try_it = [&](const bytes_t &data) {
            picture_info_t found;
            write("d", data);
            m_error[0] = '\0';
            bool ok = picture_probe(path("d").c_str(), &found, m_error);
            if (ok && picture_pixels(found) < 100000) {
                bytes_t back(picture_bytes(found));
                ok = picture_decode(path("d").c_str(), found, back.data(), m_error);
            }
            EXPECT_EQ(ok, m_error[0] == '\0') << m_error;
            return ok;
        };
        EXPECT_TRUE(try_it(whole));
        for (size_t length = 0; length + 16 < whole.size(); length += 1 + whole.size() / 90)
            EXPECT_FALSE(try_it(bytes_t(whole.begin(), whole.begin() + static_cast<long>(length))))
                << length << " of " << whole.size() << " bytes";
        for (int k = 0; k < 300; k++) {
            bytes_t wrong = whole;
            wrong[rng() % wrong.size()] ^= static_cast<uint8_t>(1 + rng() % 255);
            try_it(wrong);
        }
    }
}

TEST_F(PictureTest, SaysWhatIsWrong)
{
    picture_info_t info;
    EXPECT_FALSE(picture_probe(path("none.jpg").c_str(), &info, m_error));
    EXPECT_NE(std::string(m_error).find("No such file"), std::string::npos) << m_error;
    EXPECT_FALSE(picture_probe(write("empty.jpg", {}).c_str(), &info, m_error));
    EXPECT_STREQ(m_error, "is empty");
    EXPECT_FALSE(
        picture_probe(write("text.png", {'h', 'e', 'l', 'l', 'o'}).c_str(), &info, m_error));
    EXPECT_STREQ(m_error, "is neither JPEG nor PNG");
    EXPECT_FALSE(picture_probe(m_folder.c_str(), &info, m_error));
    uint64_t size;
    const uint8_t pixel[3] = {1, 2, 3};
    EXPECT_FALSE(picture_encode(path("no/such/folder.jpg").c_str(), info_of(1, 1, 3, PICTURE_JPEG),
                                90, pixel, &size, m_error));
    EXPECT_NE(std::string(m_error).find("cannot be made"), std::string::npos) << m_error;
}

TEST_F(PictureTest, AFileThatChangesIsAnError)
{
    bytes_t pixels(64 * 64 * 3, 7);
    uint64_t size;
    picture_info_t info;
    for (picture_format_t format : {PICTURE_JPEG, PICTURE_PNG}) {
        ASSERT_TRUE(picture_encode(path("c").c_str(), info_of(16, 16, 3, format), 90, pixels.data(),
                                   &size, m_error));
        ASSERT_TRUE(picture_probe(path("c").c_str(), &info, m_error));
        ASSERT_TRUE(picture_encode(path("c").c_str(), info_of(64, 64, 3, format), 90, pixels.data(),
                                   &size, m_error));
        bytes_t small(picture_bytes(info));
        EXPECT_FALSE(picture_decode(path("c").c_str(), info, small.data(), m_error));
        EXPECT_NE(std::string(m_error).find("has changed"), std::string::npos) << m_error;
    }
}

} // namespace
