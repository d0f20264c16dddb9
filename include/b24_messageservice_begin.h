// Opens the C declarations for C++. Included by b24_messageservice.h only, and apart from it because
// PHP's FFI reads both branches of an #if. No include guard: it is one half of a pair.
#ifdef __cplusplus
extern "C" {
#endif
