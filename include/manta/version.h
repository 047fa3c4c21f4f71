// Version of the headers, and of the library that is loaded.
#ifndef MANTA_VERSION_H
#define MANTA_VERSION_H

#define MANTA_VERSION_MAJOR  0
#define MANTA_VERSION_MINOR  1
#define MANTA_VERSION_PATCH  0
#define MANTA_VERSION_STRING "0.1.0"

// Visible outside the shared library. Everything else is hidden.
#if defined(__GNUC__)
#define MANTA_API       __attribute__((visibility("default")))
#define MANTA_NODISCARD __attribute__((warn_unused_result))
#define MANTA_UNUSED    __attribute__((unused))
#else
#define MANTA_API
#define MANTA_NODISCARD
#define MANTA_UNUSED
#endif

#ifdef __cplusplus
#define MANTA_BEGIN_DECLS extern "C" {
#define MANTA_END_DECLS   }
#else
#define MANTA_BEGIN_DECLS
#define MANTA_END_DECLS
#endif

MANTA_BEGIN_DECLS

// Returns the version of the loaded library, e.g. "0.1.0". Static storage. Threads: any.
MANTA_API const char *manta_version(void);

MANTA_END_DECLS

#endif
