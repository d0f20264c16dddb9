<?php

declare(strict_types=1);

namespace B24\MessageService\Exception;

/**
 * The tokens are good but do not allow this call.
 */
final class AccessDenied extends \RuntimeException implements MessageServiceException
{
    use Details;

    private const KIND = 'ACCESS_DENIED';
}
