<?php

declare(strict_types=1);

namespace B24\MessageService\Exception;

/**
 * What every exception of this package has.
 *
 * @internal
 */
trait Details
{
    public function __construct(
        string $message = '',
        private readonly string $portalCode = '',
        private readonly string $description = '',
        private readonly ?int $httpStatus = null,
        private readonly bool $retryable = false,
        private readonly ?float $retryAfter = null,
    ) {
        parent::__construct($message);
    }

    public function kind(): string
    {
        return self::KIND;
    }

    public function portalCode(): string
    {
        return $this->portalCode;
    }

    public function description(): string
    {
        return $this->description;
    }

    public function httpStatus(): ?int
    {
        return $this->httpStatus;
    }

    public function isRetryable(): bool
    {
        return $this->retryable;
    }

    public function retryAfter(): ?float
    {
        return $this->retryAfter;
    }
}
