<?php

declare(strict_types=1);

namespace B24\MessageService\Tests;

use Psr\Log\LoggerInterface;

if (!interface_exists(LoggerInterface::class)) {
    require __DIR__ . '/LoggerInterface.php';
}

/**
 * A PSR-3 logger that calls a function: for version 1 of psr/log as well as for 3, in which messages have a type.
 */
final class CallableLogger implements LoggerInterface
{
    /**
     * @param \Closure(string, string, array<mixed>): mixed $log
     */
    public function __construct(private readonly \Closure $log)
    {
    }

    public function log($level, $message, array $context = []): void
    {
        ($this->log)((string) $level, (string) $message, $context);
    }

    public function emergency($message, array $context = []): void
    {
        $this->log(__FUNCTION__, $message, $context);
    }

    public function alert($message, array $context = []): void
    {
        $this->log(__FUNCTION__, $message, $context);
    }

    public function critical($message, array $context = []): void
    {
        $this->log(__FUNCTION__, $message, $context);
    }

    public function error($message, array $context = []): void
    {
        $this->log(__FUNCTION__, $message, $context);
    }

    public function warning($message, array $context = []): void
    {
        $this->log(__FUNCTION__, $message, $context);
    }

    public function notice($message, array $context = []): void
    {
        $this->log(__FUNCTION__, $message, $context);
    }

    public function info($message, array $context = []): void
    {
        $this->log(__FUNCTION__, $message, $context);
    }

    public function debug($message, array $context = []): void
    {
        $this->log(__FUNCTION__, $message, $context);
    }
}
