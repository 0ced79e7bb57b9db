/* The kernels without Python: calls of operators come in by standard input and their arrays go back by standard output.
 * For processors that only an emulator has; emulated.py is the other end. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int alexnet_call(const char *name, const int64_t *sizes, const double *scalars, void *const *arrays,
                 int threads);
int alexnet_offers(const char *isa);

enum { MOST = 16 };

static int take(void *to, size_t bytes) { return fread(to, 1, bytes, stdin) == bytes; }

int main(int count, char **arguments) {
    if (count == 2) return alexnet_offers(arguments[1]) ? 0 : 1;
    char name[64];
    int64_t numbers[4]; /* threads; how many sizes, scalars and arrays */
    while (take(name, sizeof name)) {
        int64_t sizes[MOST], bytes[MOST];
        double scalars[MOST];
        void *arrays[MOST];
        if (!take(numbers, sizeof numbers) || !take(sizes, sizeof(int64_t) * numbers[1]) ||
            !take(scalars, sizeof(double) * numbers[2]) || !take(bytes, sizeof(int64_t) * numbers[3]))
            return 2;
        for (int64_t i = 0; i < numbers[3]; i++) { /* -1 bytes: no array */
            arrays[i] = bytes[i] < 0 ? NULL : aligned_alloc(64, (bytes[i] + 64) & ~(int64_t)63);
            if (bytes[i] >= 0 && !take(arrays[i], bytes[i])) return 2;
        }
        if (alexnet_call(name, sizes, scalars, arrays, (int)numbers[0])) return 3;
        for (int64_t i = 0; i < numbers[3]; i++) {
            if (bytes[i] >= 0) fwrite(arrays[i], 1, bytes[i], stdout);
            free(arrays[i]);
        }
        fflush(stdout);
    }
    return 0;
}
