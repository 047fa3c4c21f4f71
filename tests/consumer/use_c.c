// A C program that knows manta only as installed.
#include <manta/version.h>

#include <stdio.h>

int main(void)
{
    printf("manta %s\n", manta_version());
    return 0;
}
