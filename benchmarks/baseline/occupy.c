/* Occupies every core with a busy loop of normal priority of its own until SIGTERM, or for ten minutes at most. */
#include "stamps.h"
#include <sched.h>
#include <sys/prctl.h>

int main(void)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN), core = 0;
    pid_t parent = getpid();
    stop_on_signals();
    for (long other = 1; other < cores && core == 0; other++)
        if (fork() == 0) {
            core = other;
            prctl(PR_SET_PDEATHSIG, SIGTERM);
            if (getppid() != parent)
                return 0;
        }
    alarm(600);
    cpu_set_t own;
    CPU_ZERO(&own);
    CPU_SET(core, &own);
    sched_setaffinity(0, sizeof own, &own);
    while (!stopped)
        for (volatile int i = 0; i < 100000; i++) {
        }
    return 0;
}
