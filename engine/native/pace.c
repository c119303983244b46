/* Threads in step are as slow as the one that the system runs least: where other programs want the
 * cores, one thread that waits for nobody is faster than several. Which it is just now is measured;
 * what is computed is the same. */
#define _GNU_SOURCE
#include "kernels.h"

#include <time.h>

enum { TRIAL_TOGETHER = 64, TRIAL_ALONE = 16 /* calls until the other way is tried */ };

double now_s(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

int pace_is_alone(pace_t *pace) {
    int is_better = pace->alone_s > 0 && pace->alone_s < pace->together_s;
    int is_trial = ++pace->num_calls >= (is_better ? TRIAL_ALONE : TRIAL_TOGETHER);
    if (is_trial)
        pace->num_calls = 0;
    return is_trial ? !is_better : is_better;
}

/* Good times count at once, bad ones little by little: one hiccup of the system is no news. */
void pace_note(pace_t *pace, int was_alone, double seconds) {
    double *known = was_alone ? &pace->alone_s : &pace->together_s;
    double bad = seconds < 4 * *known ? seconds : 4 * *known;
    if (*known == 0)
        *known = seconds;
    else
        *known += seconds < *known ? (seconds - *known) / 2 : (bad - *known) / 10;
}
