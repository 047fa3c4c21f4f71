// A C++ program that knows manta only as installed.
#include <manta/version.h>

#include <cstdio>

int main()
{
    std::printf("manta %s\n", manta_version());
    return 0;
}
