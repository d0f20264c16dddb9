<?php

// Written by `make generate` from the kinds of error in src/values/error.rs.

declare(strict_types=1);

namespace B24\MessageService\Exception;

/**
 * The answer is not one of a portal. Check what answers at the address in `portal`.
 */
final class ProtocolError extends \UnexpectedValueException implements MessageServiceException
{
    use Details;

    private const KIND = 'PROTOCOL';
}
