/* How many fused multiply-adds a thread does in registers: the limit of any product of matrices.
   Twelve independent chains keep the units busy; vectors are as wide as -march=native allows. */

enum { CHAINS = 12 };
#if defined __AVX512F__
enum { LANES = 16 };
#elif defined __AVX2__
enum { LANES = 8 };
#else
enum { LANES = 4 };
#endif
#if defined __AVX512F__
#define KEPT(vector) "+v"(vector)
#elif defined __x86_64__
#define KEPT(vector) "+x"(vector)
#else
#define KEPT(vector) "+w"(vector)
#endif
typedef float Vector __attribute__((vector_size(4 * LANES)));

#define STEP(sum) sum = sum * factor + term; __asm__ volatile("" : KEPT(sum));

/* Does `rounds` times CHAINS * LANES multiply-adds (contracted: -ffp-contract=fast); yields their
   number in a round. */
int fma_rounds(long rounds, float *result) {
    Vector factor, term, a, b, c, d, e, f, g, h, i, j, k, l;
    for (int lane = 0; lane < LANES; lane++) factor[lane] = 0.999f, term[lane] = 1e-3f;
    a = b = c = d = e = f = g = h = i = j = k = l = term;
    for (long round = 0; round < rounds; round++) {
        STEP(a) STEP(b) STEP(c) STEP(d) STEP(e) STEP(f) STEP(g) STEP(h) STEP(i) STEP(j) STEP(k) STEP(l)
    }
    a += b + c + d + e + f + g + h + i + j + k + l;
    *result = a[0];
    return CHAINS * LANES;
}
