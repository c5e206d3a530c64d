// How a kernel with any parameters is called with an array of pointers to its arguments, as the
// driver does it, and what its parameters are, so that a caller's mistake has a name.
#pragma once

#include <stddef.h>

namespace host {

template <size_t... I>
struct Places {};

template <class T, bool structure = __is_class(T)>
struct Kind {
    static constexpr char letter = T(1) / T(2) != T(0) ? 'f' : T(-1) < T(0) ? 'i' : 'u';
};
template <class T>
struct Kind<T, true> {
    static constexpr char letter = 'V';
};

template <class T>
struct Parameter {
    using Value = T;
    static constexpr char access = 'v';
};
template <class T>
struct Parameter<T*> {
    using Value = T;
    static constexpr char access = 'w';
};
template <class T>
struct Parameter<const T*> {
    using Value = T;
    static constexpr char access = 'r';
};

template <class... A, size_t... I>
static void call(void (*kernel)(A...), void** arguments, Places<I...>) {
    kernel(*static_cast<A*>(arguments[I])...);
}
template <class... A>
static void apply(void (*kernel)(A...), void** arguments) {
    call(kernel, arguments, Places<__integer_pack(sizeof...(A))...>());
}

// A number for each parameter: v, r or w (a value, a pointer that is read, one that is written), then kind
// and size in bytes as in NumPy's type codes (V is a structure), a byte each but the first.
template <class... A>
static int describe(void (*)(A...), int* to) {
    const int found[] = {(Parameter<A>::access << 16 | Kind<typename Parameter<A>::Value>::letter << 8 |
                          static_cast<int>(sizeof(typename Parameter<A>::Value)))...,
                         0};
    for (size_t i = 0; i < sizeof...(A); ++i) to[i] = found[i];
    return sizeof...(A);
}

}  // namespace host

#define HOST_EXPORT(name, most_threads)                                                           \
    extern "C" __attribute__((visibility("default"))) void host_call_##name(void** arguments) {   \
        host::apply(name, arguments);                                                             \
    }                                                                                             \
    extern "C" __attribute__((visibility("default"))) int host_describe_##name(int* to) {         \
        return host::describe(name, to);                                                          \
    }                                                                                             \
    extern "C" __attribute__((visibility("default"))) int host_bound_##name() { return most_threads; }
