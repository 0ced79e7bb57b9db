/* The library's door: an operator is called by its name. */
#include "operators.h"

#include <string.h>

#include "threads.h"

static const struct {
    const char *name;
    Operator operator;
} table[] = {
    {"convolution", convolution},
    {"convolution_input_gradient", convolution_input_gradient},
    {"convolution_weight_gradient", convolution_weight_gradient},
    {"linear", linear},
    {"linear_input_gradient", linear_input_gradient},
    {"linear_weight_gradient", linear_weight_gradient},
    {"squares", squares},
    {"bias_gradient", bias_gradient},
    {"local", local},
    {"local_input_gradient", local_input_gradient},
    {"local_weight_gradient", local_weight_gradient},
    {"relu", relu},
    {"relu_gradient", relu_gradient},
    {"tanh", tanh_},
    {"tanh_gradient", tanh_gradient},
    {"add", add},
    {"dropout", dropout},
    {"scale", scale},
    {"max_pool", max_pool},
    {"max_pool_gradient", max_pool_gradient},
    {"average_pool", average_pool},
    {"average_pool_gradient", average_pool_gradient},
    {"lrn", lrn},
    {"lrn_gradient", lrn_gradient},
    {"spatial", spatial},
    {"spatial_gradient", spatial_gradient},
    {"softmax", softmax},
    {"cross_entropy", cross_entropy},
    {"average", average},
    {"update", update},
    {"functions", functions},
    {"gaussians", gaussians},
    {"initial_weights", initial_weights},
    {"colour_offsets", colour_offsets},
    {"centred", centred},
};

/* 0 when done, 1 for an unknown name, 2 when there was not enough memory. */
int alexnet_call(const char *name, const int64_t *sizes, const double *scalars, void *const *arrays,
                 int threads) {
    Arguments arguments = {sizes, scalars, arrays, threads < 1 ? 1 : threads};
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (!strcmp(name, table[i].name)) {
            unsigned before = enter();
            table[i].operator(&arguments);
            leave(before);
            return out_of_memory() ? 2 : 0;
        }
    return 1;
}
