/* A wall clock that a test steps, for one process: LD_PRELOAD puts this before libc's clock.
 *
 * Whatever the process asks of the wall clock is off by the nanoseconds that stand in the file that STEPPED_CLOCK names.
 * The kernel's own stamps and other processes keep the true time, so it is the step of a host as far as this process
 * reads clocks, and no further.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static const int64_t billion = 1000000000;
static const volatile int64_t *step;
static const int64_t none;

__attribute__((constructor)) static void look(void)
{
    const char *name = getenv("STEPPED_CLOCK");
    int file = name != NULL ? open(name, O_RDONLY | O_CLOEXEC) : -1;
    void *found = file >= 0 ? mmap(NULL, sizeof *step, PROT_READ, MAP_SHARED, file, 0) : MAP_FAILED;
    step = found != MAP_FAILED ? found : &none;
}

int clock_gettime(clockid_t clock, struct timespec *time)
{
    int failed = (int)syscall(SYS_clock_gettime, clock, time);
    if (failed == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE) && step != NULL) {
        int64_t now = (int64_t)time->tv_sec * billion + time->tv_nsec + *step;
        time->tv_sec = now / billion;
        time->tv_nsec = now % billion;
    }
    return failed;
}

int gettimeofday(struct timeval *restrict time, void *restrict zone)
{
    struct timespec now;
    (void)zone;
    int failed = clock_gettime(CLOCK_REALTIME, &now);
    time->tv_sec = now.tv_sec;
    time->tv_usec = now.tv_nsec / 1000;
    return failed;
}

time_t time(time_t *where)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (where != NULL)
        *where = now.tv_sec;
    return now.tv_sec;
}
