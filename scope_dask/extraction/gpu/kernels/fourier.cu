// Fourier decomposition of orders 0 to 5, chosen by BIC (scope_dask/extraction/fourier.py has the method: modified
// Gram-Schmidt, with every new direction taken out of the residuals at once).
#include "curves.cuh"

constexpr int MAX_ORDER = 5;
constexpr int TERMS = 2 + 2 * MAX_ORDER;
constexpr int LINE_RESIDUAL = TERMS;  // rows of the scratch after the orthonormal directions
constexpr int RESIDUAL = TERMS + 1;
constexpr int ROWS = TERMS + 2;
constexpr int COLUMNS = 2 + TERMS;    // of the results
constexpr double EPSILON = 1.1102230246251565e-16;

// A light curve, its rows of scratch (a thread has its own points in all of them) and its triangle (thread 0's).
struct Fit {
    const double* t;
    const double* m;
    const double* e;
    int n;
    double* rows;
    double (*triangle)[TERMS];
    double* projections;
    double2* scratch;

    __device__ inline double* row(int k) const { return rows + (i64)k * n; }
};

__device__ inline double dot(const Fit& fit, const double* x, const double* y) {
    double sum = 0.0;
    for (int i = threadIdx.x; i < fit.n; i += THREADS) sum += x[i] * y[i];
    return block_sum<THREADS>(sum, 0.0, fit.scratch).x;
}

// Subtracts factor * y from x and returns the product of the new x with z (which may be x).
__device__ inline double subtract(const Fit& fit, double* x, double factor, const double* y, const double* z) {
    double sum = 0.0;
    for (int i = threadIdx.x; i < fit.n; i += THREADS) {
        x[i] -= factor * y[i];
        sum += x[i] * z[i];
    }
    return block_sum<THREADS>(sum, 0.0, fit.scratch).x;
}

// Orthogonalises a column against those before it, takes it out of `residual`, returns chi^2. A column no longer than
// `floor` afterwards is no direction of its own: its diagonal element becomes 0.
__device__ inline double add_direction(const Fit& fit, int column, double floor, double* residual, double* length) {
    double* a = fit.row(column);
    double r = dot(fit, column ? fit.row(0) : a, a);
    for (int j = 0; j < column; j++) {
        if (threadIdx.x == 0) fit.triangle[j][column] = r;
        r = subtract(fit, a, r, fit.row(j), fit.row(j + 1));  // the last time with itself
    }
    *length = sqrt(r) > floor ? sqrt(r) : 0.0;
    for (int i = threadIdx.x; i < fit.n; i += THREADS) a[i] = *length > 0.0 ? a[i] / *length : 0.0;
    const double projection = dot(fit, a, residual);
    if (threadIdx.x == 0) {
        fit.triangle[column][column] = *length;
        fit.projections[column] = projection;
    }
    return subtract(fit, residual, projection, a, residual);
}

__device__ inline double largest_time(const Fit& fit) { return fmax(fabs(fit.t[0]), fabs(fit.t[fit.n - 1])); }

// Fits constant and slope; returns chi^2. scale: length of the constant.
__device__ inline double fit_line(const Fit& fit, double* scale) {
    const double origin = fit.m[fit.n / 2];
    for (int i = threadIdx.x; i < fit.n; i += THREADS) {
        const double w = 1.0 / fit.e[i];
        fit.row(0)[i] = w;
        fit.row(1)[i] = w * (fit.t[i] - fit.t[0]);
        fit.row(LINE_RESIDUAL)[i] = w * (fit.m[i] - origin);
    }
    double length;
    add_direction(fit, 0, 0.0, fit.row(LINE_RESIDUAL), scale);
    const double floor = 4.0 * EPSILON * *scale * (fit.n * (fit.t[fit.n - 1] - fit.t[0]) + largest_time(fit));
    return add_direction(fit, 1, floor, fit.row(LINE_RESIDUAL), &length);
}

// Adds the harmonics to the line; fills chi^2 of orders 1 to 5 (those with fewer terms than points).
__device__ inline void fit_harmonics(const Fit& fit, double period, double scale, double* chi2) {
    for (int i = threadIdx.x; i < fit.n; i += THREADS) fit.row(RESIDUAL)[i] = fit.row(LINE_RESIDUAL)[i];
    const double start = fmod(fit.t[0], period) / period, cycles = largest_time(fit) / period + 1.0;
    for (int order = 1; order <= MAX_ORDER && 2 + 2 * order < fit.n; order++) {
        double *cosine = fit.row(2 * order), *sine = fit.row(2 * order + 1), length;
        for (int i = threadIdx.x; i < fit.n; i += THREADS) {
            const double cycle = (fit.t[i] - fit.t[0]) / period + start;
            const double turn = order * (cycle - floor(cycle + 0.5)), w = 1.0 / fit.e[i];
            double s, c;
            sincospi(2.0 * (turn - rint(turn)), &s, &c);
            cosine[i] = w * c;
            sine[i] = w * s;
        }
        const double least = 4.0 * EPSILON * (fit.n + 2.0 * 3.141592653589793 * order * cycles) * scale;
        add_direction(fit, 2 * order, least, fit.row(RESIDUAL), &length);
        chi2[order] = add_direction(fit, 2 * order + 1, least, fit.row(RESIDUAL), &length);
    }
}

// Fills one row of results with the order of least BIC (the lowest of equals). One thread's work.
__device__ inline void choose_order(const Fit& fit, const double* chi2, double* out) {
    int best = 0;
    double lowest = chi2[0] + log((double)fit.n) * 2;
    for (int order = 1; order <= MAX_ORDER && 2 + 2 * order < fit.n; order++) {
        const double bic = chi2[order] + log((double)fit.n) * (2 + 2 * order);
        if (bic < lowest) {
            best = order;
            lowest = bic;
        }
    }
    out[0] = best ? (chi2[0] - chi2[best]) / chi2[0] : 0.0;
    out[1] = lowest;
    for (int j = 2; j < COLUMNS; j++) out[j] = 0.0;
    for (int j = 1 + 2 * best; j >= 0; j--) {
        if (!(fit.triangle[j][j] > 0.0)) continue;
        double value = fit.projections[j];
        for (int k = j + 1; k < 2 + 2 * best; k++) value -= fit.triangle[j][k] * out[2 + k];
        out[2 + j] = value / fit.triangle[j][j];
    }
    out[2] += fit.m[fit.n / 2];
}

// Block b is light curve first + b; periods (n, n_periods), out (n, n_periods, COLUMNS), scratch: ROWS times as long as
// the points of the launch.
extern "C" __global__ void __launch_bounds__(THREADS) fourier(const double* hjd, const double* mag,
                                                              const double* magerr, const i64* offsets, i64 first,
                                                              const double* periods, int n_periods, double* scratch,
                                                              double* out) {
    __shared__ double triangle[TERMS][TERMS], projections[TERMS];
    __shared__ double2 pairs[THREADS];
    const i64 curve = first + blockIdx.x, start = offsets[curve];
    const int n = (int)(offsets[curve + 1] - start);
    double* results = out + curve * n_periods * COLUMNS;
    for (int j = threadIdx.x; j < n_periods * COLUMNS; j += THREADS) results[j] = quiet_nan();
    if (unusable(hjd + start, mag + start, magerr + start, n)) return;
    const Fit fit{hjd + start, mag + start,   magerr + start, n, scratch + (start - offsets[first]) * ROWS,
                  triangle,    projections, pairs};
    double chi2[MAX_ORDER + 1], scale;
    chi2[0] = fit_line(fit, &scale);
    if (!(chi2[0] < infinity())) return;  // errors so small that their weights overflow
    for (int which = 0; which < n_periods; which++) {
        const double period = periods[curve * n_periods + which];
        if (!(period > 0.0 && period < infinity())) continue;
        fit_harmonics(fit, period, scale, chi2);
        if (threadIdx.x == 0) choose_order(fit, chi2, results + (i64)which * COLUMNS);
    }
}
