/* What every operator looks like from outside: sizes, scalars and arrays in a fixed order, listed
 * in operators.c. */
#ifndef OPERATORS_H
#define OPERATORS_H

#include <stdint.h>

typedef struct {
    const int64_t *sizes;
    const double *scalars;
    void *const *arrays;
    int threads;
} Arguments;

typedef void (*Operator)(const Arguments *);

#define ARRAY(type, number) ((type *)arguments->arrays[number])
#define SIZE(number) ((long)arguments->sizes[number])

/* products.c */
void convolution(const Arguments *);
void convolution_input_gradient(const Arguments *);
void convolution_weight_gradient(const Arguments *);
void linear(const Arguments *);
void linear_input_gradient(const Arguments *);
void linear_weight_gradient(const Arguments *);
void squares(const Arguments *);
void bias_gradient(const Arguments *);

/* local.c */
void local(const Arguments *);
void local_input_gradient(const Arguments *);
void local_weight_gradient(const Arguments *);

/* maps.c */
void relu(const Arguments *);
void relu_gradient(const Arguments *);
void tanh_(const Arguments *);
void tanh_gradient(const Arguments *);
void add(const Arguments *);
void dropout(const Arguments *);
void scale(const Arguments *);
void max_pool(const Arguments *);
void max_pool_gradient(const Arguments *);
void average_pool(const Arguments *);
void average_pool_gradient(const Arguments *);

/* normalization.c */
void lrn(const Arguments *);
void lrn_gradient(const Arguments *);
void spatial(const Arguments *);
void spatial_gradient(const Arguments *);

/* training.c */
void softmax(const Arguments *);
void cross_entropy(const Arguments *);
void average(const Arguments *);
void update(const Arguments *);
void functions(const Arguments *);
void gaussians(const Arguments *);
void initial_weights(const Arguments *);
void colour_offsets(const Arguments *);
void centred(const Arguments *);

#endif
