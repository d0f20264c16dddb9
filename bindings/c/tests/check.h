/* What the test programs count with. */
#ifndef B24_TEST_CHECK_H
#define B24_TEST_CHECK_H

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static long passed;
static long failed;

static bool check_at(bool good, const char *what, const char *file, int line)
{
    if (good) {
        passed++;
    } else {
        failed++;
        fprintf(stderr, "%s:%d: %s\n", file, line, what);
    }
    return good;
}

static inline bool check_text_at(const char *got, const char *wanted, const char *what,
                                 const char *file, int line)
{
    bool good = got != NULL && strcmp(got, wanted) == 0;
    if (!check_at(good, what, file, line)) {
        fprintf(stderr, "    got \"%s\", wanted \"%s\"\n", got != NULL ? got : "(NULL)", wanted);
    }
    return good;
}

static inline bool check_number_at(long long got, long long wanted, const char *what,
                                   const char *file, int line)
{
    if (!check_at(got == wanted, what, file, line)) {
        fprintf(stderr, "    got %lld, wanted %lld\n", got, wanted);
    }
    return got == wanted;
}

#define CHECK(good) check_at((good), #good, __FILE__, __LINE__)
#define CHECK_TEXT(got, wanted) check_text_at((got), (wanted), #got, __FILE__, __LINE__)
#define CHECK_NUMBER(got, wanted) \
    check_number_at((long long)(got), (long long)(wanted), #got, __FILE__, __LINE__)

/* The closing line, and what main returns. */
static int summary(const char *part)
{
    printf("C %s: %ld passed, %ld failed\n", part, passed, failed);
    return failed == 0 && passed > 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

#endif
