// Three prices of assertion; MANTA_ASSERT (0 to 3) picks how many are compiled in.
#ifndef MTI_BASE_ASSERT_H
#define MTI_BASE_ASSERT_H

#ifndef MANTA_ASSERT
#define MANTA_ASSERT 0
#endif

// Says what broke and aborts: only for bugs in manta itself, in builds that ask for it.
__attribute__((noreturn)) void mti_assert_failed(const char *text, const char *file, int line);

#define MTI_ASSERT_ON(x)  ((x) ? (void)0 : mti_assert_failed(#x, __FILE__, __LINE__))
#define MTI_ASSERT_OFF(x) ((void)sizeof(!(x)))

#if MANTA_ASSERT >= 1
#define MTI_ASSERT(x) MTI_ASSERT_ON(x) // cheap, off hot paths
#else
#define MTI_ASSERT(x) MTI_ASSERT_OFF(x)
#endif
#if MANTA_ASSERT >= 2
#define MTI_ASSERT_INTERNAL(x) MTI_ASSERT_ON(x) // on hot paths
#else
#define MTI_ASSERT_INTERNAL(x) MTI_ASSERT_OFF(x)
#endif
#if MANTA_ASSERT >= 3
#define MTI_ASSERT_EXPENSIVE(x) MTI_ASSERT_ON(x) // walks whole structures
#else
#define MTI_ASSERT_EXPENSIVE(x) MTI_ASSERT_OFF(x)
#endif

#endif
