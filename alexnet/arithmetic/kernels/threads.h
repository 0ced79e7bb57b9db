/* Threads that share the outputs of one operator, memory that they keep, and the state of the
 * processor. */
#ifndef THREADS_H
#define THREADS_H

#include <stddef.h>

/* Round to nearest, keep subnormals, trap nothing on this thread; the state that was, for `leave`.
 * The pool's threads are always in that state. */
unsigned enter(void);
void leave(unsigned before);

typedef void (*Task)(void *context, long number);

/* Run task(context, 0 .. count - 1), each once, on up to `threads` threads, this one among them.
 * Every output belongs to one number, so neither the threads nor their order can show. */
void share(Task task, void *context, long count, int threads);

/* Memory of this thread, at least so many bytes, aligned to 64; what it held before is lost. Slots
 * are independent. A failure to get memory is remembered for `out_of_memory`, and NULL returned. */
enum { SLOTS = 6 };
void *scratch(int slot, size_t bytes);

/* Whether memory ran out since the last call of this function. */
int out_of_memory(void);

#endif
