/* Makes the compiler warn of a program that does not look at whether an option was set: the examples and
 * the documentation's programs are compiled with it. */
#include <b24_messageservice.h>

#ifdef __cplusplus
extern "C"
#endif
    __attribute__((warn_unused_result)) b24_code
    b24_config_set(b24_config *config, const char *name, const char *value, b24_error **error);
