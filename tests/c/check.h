/* check.h - assertions and the main loop of the C tests.
 * Layer: tests (libc only).
 * Owns: the counts of this test binary.
 * Threads: a check may be made in any thread.
 * Errors: a failed check prints its place and is counted, the test goes on: write `if (!CHECK(x)) { return; }`
 *         where going on makes no sense.  A test that hangs is ended by SIGALRM.
 *
 *     static void a_new_buffer_is_empty(void) { ... CHECK_INT(b.len, 0); ... }
 *     int main(int argc, char **argv)
 *     {
 *         static const check_test tests[] = {CHECK_TEST(a_new_buffer_is_empty)};
 *         return check_main(tests, CHECK_COUNT(tests), argc, argv);
 *     }
 *
 * With arguments only the tests whose name contains one of them are run. */
#ifndef CPIKA_TESTS_CHECK_H
#define CPIKA_TESTS_CHECK_H

#include <inttypes.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define CHECK_TIMEOUT_S 120u  // a whole binary, valgrind and sanitizers included

typedef struct {
    const char *name;  // a sentence about behaviour
    void (*run)(void);
} check_test;

static atomic_uint check_failures;  // of the test that runs

/* Each answers whether the check held. */
#define CHECK(condition) check_true((condition), #condition, __FILE__, __LINE__)
#define CHECK_INT(actual, expected) \
    check_int((int64_t)(actual), (int64_t)(expected), #actual, __FILE__, __LINE__)
#define CHECK_STR(actual, expected) check_str((actual), (expected), #actual, __FILE__, __LINE__)
#define CHECK_MEM(actual, expected, n) check_mem((actual), (expected), (n), #actual, __FILE__, __LINE__)

#define CHECK_TEST(function) {#function, function}
#define CHECK_COUNT(array) (sizeof(array) / sizeof((array)[0]))

static inline bool
check_true(bool holds, const char *text, const char *file, int line)
{
    if (!holds) {
        atomic_fetch_add(&check_failures, 1);
        fprintf(stderr, "%s:%d: does not hold: %s\n", file, line, text);
    }
    return holds;
}

static inline bool
check_int(int64_t actual, int64_t expected, const char *text, const char *file, int line)
{
    if (actual != expected) {
        atomic_fetch_add(&check_failures, 1);
        fprintf(stderr, "%s:%d: %s is %" PRId64 ", expected %" PRId64 "\n", file, line, text, actual,
                expected);
    }
    return actual == expected;
}

static inline bool
check_str(const char *actual, const char *expected, const char *text, const char *file, int line)
{
    bool same = actual != NULL && strcmp(actual, expected) == 0;
    if (!same) {
        atomic_fetch_add(&check_failures, 1);
        fprintf(stderr, "%s:%d: %s is \"%s\", expected \"%s\"\n", file, line, text,
                actual == NULL ? "(null)" : actual, expected);
    }
    return same;
}

static inline bool
check_mem(const void *actual, const void *expected, size_t n, const char *text, const char *file, int line)
{
    const uint8_t *a = (const uint8_t *)actual;
    const uint8_t *e = (const uint8_t *)expected;
    for (size_t i = 0; i < n; i++) {
        if (a[i] != e[i]) {
            atomic_fetch_add(&check_failures, 1);
            fprintf(stderr, "%s:%d: %s differs at byte %zu of %zu: 0x%02x, expected 0x%02x\n", file, line,
                    text, i, n, (unsigned)a[i], (unsigned)e[i]);
            return false;
        }
    }
    return true;
}

static inline bool
check_selected(const char *name, int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        if (strstr(name, argv[i]) != NULL) {
            return true;
        }
    }
    return argc <= 1;
}

/* Runs the tests in order, prints one line each and the summary; returns the exit status of the program. */
static inline int
check_main(const check_test *tests, size_t count, int argc, char **argv)
{
    unsigned passed = 0;
    unsigned failed = 0;

    setvbuf(stdout, NULL, _IOLBF, 0);
    alarm(CHECK_TIMEOUT_S);
    for (size_t i = 0; i < count; i++) {
        if (!check_selected(tests[i].name, argc, argv)) {
            continue;
        }
        atomic_store(&check_failures, 0);
        tests[i].run();
        bool good = atomic_load(&check_failures) == 0;
        printf("%s %s\n", good ? "ok  " : "FAIL", tests[i].name);
        passed += good;
        failed += !good;
    }
    printf("%u passed, %u failed\n", passed, failed);
    return failed == 0 && passed > 0 ? 0 : 1;
}

#endif
