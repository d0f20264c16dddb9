<?php

// Written by `make generate` from the kinds of error in src/values/error.rs.

declare(strict_types=1);

namespace B24\MessageService\Exception;

/**
 * Any other refusal by the portal. See the portal's own error code.
 */
final class PortalError extends \RuntimeException implements MessageServiceException
{
    use Details;

    private const KIND = 'PORTAL';
}
