<?php

// Written by `make generate` from the kinds of error in src/values/error.rs.

declare(strict_types=1);

namespace B24\MessageService\Exception;

/**
 * The deadline of the call passed. The portal may or may not have executed it. The message says whether to
 * call again.
 */
final class CallTimeout extends \RuntimeException implements MessageServiceException
{
    use Details;

    private const KIND = 'TIMEOUT';
}
