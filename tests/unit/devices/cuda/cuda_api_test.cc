// The table of driver functions on machines that have no driver, or not a good one.
#include <cstdlib>
#include <cstring>
#include <string>

#include <sys/wait.h>
#include <unistd.h>

extern "C" {
#include "devices/cuda/cuda_api.h"
#include "devices/cuda/cuda_status.h"
}

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace
{

using ::testing::HasSubstr;

std::string library(const std::string &name)
{
    return std::string(MANTA_FAKES_DIR) + "/" + name + "/libcuda.so.1";
}

// Loads |path|, and fails the test if anything was printed.
manta_status_t load_quietly(const char *path)
{
    mti_cu_api_t api;
    memset(&api, 0xA5, sizeof api);
    const mti_cu_api_t before = api;
    ::testing::internal::CaptureStdout();
    ::testing::internal::CaptureStderr();
    manta_status_t status = mti_cu_api_load(path, &api);
    EXPECT_EQ("", ::testing::internal::GetCapturedStdout());
    EXPECT_EQ("", ::testing::internal::GetCapturedStderr());
    EXPECT_NE(MANTA_OK, status);
    EXPECT_EQ(0, memcmp(&before, &api, sizeof api)) << "a failed load wrote its output";
    return status;
}

TEST(CudaApiTest, NoLibraryIsANormalState)
{
    EXPECT_EQ(MANTA_ERR_NOT_SUPPORTED, load_quietly("/nowhere/libcuda.so.1"));
    EXPECT_THAT(manta_error_message(), HasSubstr("/nowhere/libcuda.so.1"));
}

TEST(CudaApiTest, AFileThatIsNoLibraryIsANormalState)
{
    EXPECT_EQ(MANTA_ERR_NOT_SUPPORTED, load_quietly(__FILE__));
}

TEST(CudaApiTest, ALibraryThatIsNoDriverIsANormalState)
{
    EXPECT_EQ(MANTA_ERR_NOT_SUPPORTED, load_quietly("libm.so.6"));
}

TEST(CudaApiTest, TheToolkitsStubIsANormalState)
{
    const char *stub = MANTA_CUDA_STUB;
    if (access(stub, R_OK) != 0) GTEST_SKIP() << "the toolkit here has no stub library";
    EXPECT_EQ(MANTA_ERR_NOT_SUPPORTED, load_quietly(stub));
}

TEST(CudaApiTest, WhatDriversWithoutDevicesAnswerIsANormalState)
{
    for (const char *name : {"answers_34", "answers_35", "answers_100", "no_devices"})
        EXPECT_EQ(MANTA_ERR_NOT_SUPPORTED, load_quietly(library(name).c_str())) << name;
}

TEST(CudaApiTest, ADriverFromBeforeVersionedSymbolsIsTooOld)
{
    EXPECT_EQ(MANTA_ERR_NOT_SUPPORTED, load_quietly(library("old").c_str()));
    EXPECT_THAT(manta_error_message(), HasSubstr("older than 12.0"));
}

TEST(CudaApiTest, ADriverThatLacksAFunctionIsNamedWithIt)
{
    EXPECT_EQ(MANTA_ERR_NOT_SUPPORTED, load_quietly(library("version_11080").c_str()));
    EXPECT_THAT(manta_error_message(), HasSubstr("11.8 has no cuLibraryLoadData of version 12000"));
}

TEST(CudaApiTest, ADriverThatDoesNotStartSaysWhy)
{
    EXPECT_EQ(MANTA_ERR_SYSTEM, load_quietly(library("answers_803").c_str()));
    EXPECT_THAT(manta_error_message(), HasSubstr("cuInit(0)"));
    EXPECT_THAT(manta_error_message(), HasSubstr("803"));
}

TEST(CudaApiTest, TheEnvironmentNamesTheLibrary)
{
    setenv("MANTA_CUDA_LIBRARY", "/nowhere/else.so", 1);
    EXPECT_EQ(MANTA_ERR_NOT_SUPPORTED, load_quietly(nullptr));
    EXPECT_THAT(manta_error_message(), HasSubstr("/nowhere/else.so"));
    unsetenv("MANTA_CUDA_LIBRARY");
}

TEST(CudaApiTest, WhatTheDriverLacksIsNotAskedForInAnOlderForm)
{
    // 12.0 is enough for everything that is required, and too old for the rest.
    mti_cu_api_t api;
    ASSERT_EQ(MANTA_OK, mti_cu_api_load(library("version_12000").c_str(), &api));
    EXPECT_EQ(12000, api.driver_version);
    EXPECT_EQ(nullptr, api.cuKernelGetParamInfo);
#if MTI_CU_HAS_BATCH
    EXPECT_EQ(nullptr, api.batch_v12080);
    EXPECT_EQ(nullptr, api.batch_v13000);
#endif
    EXPECT_NE(nullptr, api.cuStreamWriteValue64);
    mti_cu_api_unload(&api);
}

TEST(CudaApiTest, AForkOfAStartedDriverGetsAStatus)
{
    mti_cu_api_t api;
    ASSERT_EQ(MANTA_OK, mti_cu_api_load(library("version_12000").c_str(), &api));
    EXPECT_FALSE(mti_cu_forked());
    pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
        const mti_cu_api_t *shared = nullptr;
        bool good = mti_cu_forked() && mti_cu_api_get(&shared) == MANTA_ERR_FORKED &&
                    strstr(manta_error_message(), "forked") != nullptr;
        _exit(good ? 0 : 1);
    }
    int exit_status = -1;
    ASSERT_EQ(child, waitpid(child, &exit_status, 0));
    EXPECT_EQ(0, exit_status);
    EXPECT_FALSE(mti_cu_forked());
    mti_cu_api_unload(&api);
}

TEST(CudaStatusTest, ErrorsThatEndTheContextMeanALostDevice)
{
    for (int code : {214, 220, 226, 700, 702, 714, 715, 716, 717, 718, 719, 721, 810, 911, 999}) {
        EXPECT_EQ(MTI_CU_LOST, mti_cu_severity(static_cast<CUresult>(code))) << code;
        EXPECT_EQ(MANTA_ERR_DEVICE_LOST, mti_cu_code(static_cast<CUresult>(code))) << code;
    }
}

TEST(CudaStatusTest, OtherErrorsAreTheCallsOwn)
{
    struct row {
        CUresult result;
        manta_status_t code;
    };
    for (row at : {row{CUDA_ERROR_OUT_OF_MEMORY, MANTA_ERR_OUT_OF_MEMORY},
                   row{CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES, MANTA_ERR_RESOURCE_EXHAUSTED},
                   row{CUDA_ERROR_NO_BINARY_FOR_GPU, MANTA_ERR_NOT_SUPPORTED},
                   row{CUDA_ERROR_NOT_FOUND, MANTA_ERR_NOT_FOUND},
                   row{CUDA_ERROR_INVALID_VALUE, MANTA_ERR_INVALID_ARGUMENT},
                   row{CUDA_ERROR_INVALID_HANDLE, MANTA_ERR_INTERNAL},
                   row{CUDA_ERROR_INVALID_CONTEXT, MANTA_ERR_INTERNAL}}) {
        EXPECT_EQ(MTI_CU_CALL, mti_cu_severity(at.result)) << at.result;
        EXPECT_EQ(at.code, mti_cu_code(at.result)) << at.result;
    }
    EXPECT_EQ(MTI_CU_NOTHING, mti_cu_severity(CUDA_ERROR_NOT_READY));
    EXPECT_EQ(MANTA_NOT_READY, mti_cu_code(CUDA_ERROR_NOT_READY));
}

} // namespace
