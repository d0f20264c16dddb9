// Closes what b24_messageservice_begin.h opens.
#ifdef __cplusplus
}
#endif
