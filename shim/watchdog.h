#ifndef XMPP443_WATCHDOG_H
#define XMPP443_WATCHDOG_H

/*
 * watchdog: what a service manager's watchdog needs to know: does every
 * thread's loop still turn? One thread asks all others now and then, and they
 * answer from their loops. Source: sd_watchdog_enabled(3).
 */

#include <stdatomic.h>
#include <stdbool.h>

/* For one thread that is asked. Zero-initialise. */
struct watchdog_pulse {
	atomic_bool due;
};

/*
 * How often to ask, in milliseconds: a quarter of $WATCHDOG_USEC, so that a
 * thread may well be late once or twice. 0: nobody wants to know. Unsets the
 * variables so that no child takes them.
 */
unsigned watchdog_interval_ms(void);

/* Asks. False: the question before has not been answered yet. */
bool watchdog_ask(struct watchdog_pulse *p);

/* From the thread that is asked. */
void watchdog_answer(struct watchdog_pulse *p);

#endif
