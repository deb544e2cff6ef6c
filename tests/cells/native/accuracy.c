/* Prints the largest error of tanh and of sigmoid, in units in the last place. */

#include <math.h>
#include <stdio.h>

#include "vector.h"

#ifdef DTYPE_F64
#define NEXT nextafter
#else
#define NEXT nextafterf
#endif

static long double in_last_places(REAL got, long double exact)
{
    const REAL near = (REAL)fabsl(exact);
    return fabsl((long double)got - exact) / ((long double)NEXT(near, INFINITY) - near);
}

int main(void)
{
    long double worst[2] = {0, 0};
    for (double size = 1e-30; size < 80; size *= 1.0001)
        for (int sign = -1; sign <= 1; sign += 2) {
            const REAL x = (REAL)(sign * size);
            long double errors[] = {in_last_places(vec_tanh(splat(x))[0], tanhl(x)),
                                    in_last_places(vec_sigmoid(splat(x))[0], 1 / (1 + expl(-(long double)x)))};
            for (int i = 0; i < 2; i++) worst[i] = errors[i] > worst[i] ? errors[i] : worst[i];
        }
    printf("%.3Lf %.3Lf\n", worst[0], worst[1]);
    return 0;
}
