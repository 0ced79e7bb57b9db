/* The other end of a pipe for resampling.c, by itself on a processor that Python does not run on: reads height, width and
   side, the box and the pixels of one picture after another, and writes what becomes of each. */

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int alexnet_resample(const uint8_t *in, int height, int width, const float *box, int side, uint8_t *out);

int main(void) {
    int32_t sizes[3];
    float box[4];
    while (fread(sizes, sizeof *sizes, 3, stdin) == 3 && fread(box, sizeof *box, 4, stdin) == 4) {
        size_t bytes = (size_t)sizes[0] * sizes[1] * 3, left = (size_t)sizes[2] * sizes[2] * 3;
        uint8_t *in = malloc(bytes), *out = malloc(left);
        if (fread(in, 1, bytes, stdin) != bytes || alexnet_resample(in, sizes[0], sizes[1], box, sizes[2], out)) return 1;
        fwrite(out, 1, left, stdout);
        free(in);
        free(out);
    }
    return 0;
}
