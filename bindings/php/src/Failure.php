<?php

declare(strict_types=1);

namespace B24\MessageService;

use B24\MessageService\Exception\InternalError;
use B24\MessageService\Exception\MessageServiceException;

/**
 * Turns the errors of the library into exceptions.
 *
 * @internal
 */
final class Failure
{
    /** `B24_OK`, which never changes: looking it up at each call costs as much as the call's FFI. */
    private const OK = 0;

    /** The exception of each kind of error, by its `b24_code`. */
    private const EXCEPTIONS = [
        // make generate writes: exceptions
        1 => Exception\InvalidArgument::class,
        2 => Exception\InvalidConfig::class,
        3 => Exception\TransportError::class,
        4 => Exception\CallTimeout::class,
        5 => Exception\ProtocolError::class,
        6 => Exception\AuthError::class,
        7 => Exception\AccessDenied::class,
        8 => Exception\MessageNotFound::class,
        9 => Exception\RateLimited::class,
        10 => Exception\PortalError::class,
        11 => Exception\PortalMoved::class,
        12 => Exception\Cancelled::class,
        13 => Exception\InternalError::class,
        14 => Exception\StorageError::class,
        // end: exceptions
    ];

    /**
     * Where a call puts its error. Each call has a place of its own: PHP may run a signal handler after a call
     * has returned and before its error is read, and the handler may make another call with the same object.
     */
    public static function place(\FFI $ffi): \FFI\CData
    {
        return $ffi->new('b24_error *');
    }

    /**
     * Throws the error of a call, if its code says that it failed.
     *
     * @throws MessageServiceException
     */
    public static function check(int $code, \FFI\CData $error): void
    {
        if ($code === self::OK) {
            return;
        }
        try {
            throw self::exception($error);
        } finally {
            Loader::ffi()->b24_error_free($error);
        }
    }

    public static function exception(\FFI\CData $error): MessageServiceException
    {
        $ffi = Loader::ffi();
        $class = self::EXCEPTIONS[$ffi->b24_error_code($error)] ?? InternalError::class;
        $httpStatus = $ffi->b24_error_http_status($error);
        $retryAfter = $ffi->b24_error_retry_after_ms($error);
        return new $class(
            $ffi->b24_error_message($error),
            $ffi->b24_error_portal_code($error),
            $ffi->b24_error_description($error),
            $httpStatus === 0 ? null : $httpStatus,
            $ffi->b24_error_is_retryable($error),
            $retryAfter < 0 ? null : $retryAfter / 1000,
        );
    }
}
