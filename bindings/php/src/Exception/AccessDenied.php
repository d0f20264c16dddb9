<?php

// Written by `make generate` from the kinds of error in src/values/error.rs.

declare(strict_types=1);

namespace B24\MessageService\Exception;

/**
 * The tokens are valid but do not allow this call. Check the application's scope, the user's rights and the
 * portal's plan.
 */
final class AccessDenied extends \RuntimeException implements MessageServiceException
{
    use Details;

    private const KIND = 'ACCESS_DENIED';
}
