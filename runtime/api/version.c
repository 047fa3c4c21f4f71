#include <manta/version.h>

const char *manta_version(void)
{
    return MANTA_VERSION_STRING;
}
