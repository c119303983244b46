/* Threads in step are as slow as the one that the system runs least: where other programs want the
 * cores, one thread that waits for nobody is faster than several. Which it is just now is measured;
 * what is computed is the same. */
#define _GNU_SOURCE
#include "kernels.h"

#include <time.h>

enum { TRIAL_EVERY = 64 };

double now_s(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

int pace_is_alone(pace_t *pace) {
    int is_trial = ++pace->num_calls % TRIAL_EVERY == 0;
    int is_better = pace->alone_s > 0 && pace->alone_s < pace->together_s;
    return is_trial ? !is_better : is_better;
}

void pace_note(pace_t *pace, int was_alone, double seconds) {
    double *known = was_alone ? &pace->alone_s : &pace->together_s;
    *known = *known > 0 ? 0.75 * *known + 0.25 * seconds : seconds;
}
