<?php

declare(strict_types=1);

namespace Psr\Log;

/**
 * What PSR-3 asks of a logger, for tests where the package psr/log is not installed.
 */
interface LoggerInterface
{
    /** @param array<mixed> $context */
    public function emergency(string|\Stringable $message, array $context = []): void;
    /** @param array<mixed> $context */
    public function alert(string|\Stringable $message, array $context = []): void;
    /** @param array<mixed> $context */
    public function critical(string|\Stringable $message, array $context = []): void;
    /** @param array<mixed> $context */
    public function error(string|\Stringable $message, array $context = []): void;
    /** @param array<mixed> $context */
    public function warning(string|\Stringable $message, array $context = []): void;
    /** @param array<mixed> $context */
    public function notice(string|\Stringable $message, array $context = []): void;
    /** @param array<mixed> $context */
    public function info(string|\Stringable $message, array $context = []): void;
    /** @param array<mixed> $context */
    public function debug(string|\Stringable $message, array $context = []): void;
    /** @param array<mixed> $context */
    public function log(mixed $level, string|\Stringable $message, array $context = []): void;
}
