<?php

declare(strict_types=1);

namespace B24\MessageService\Exception;

/**
 * The tokens are valid but do not allow this call.
 */
final class AccessDenied extends \RuntimeException implements MessageServiceException
{
    use Details;

    private const KIND = 'ACCESS_DENIED';
}
