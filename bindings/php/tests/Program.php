<?php

declare(strict_types=1);

namespace B24\MessageService\Tests;

/**
 * A PHP program in a process of its own: for what one process can do only once.
 */
final class Program
{
    private function __construct(
        public readonly int $exit,
        public readonly string $output,
        public readonly string $errors,
    ) {
    }

    /**
     * @param list<string> $arguments of the PHP interpreter
     * @param array<string, string> $environment besides this process's own
     */
    public static function run(array $arguments, array $environment = [], string $input = ''): self
    {
        return self::start([PHP_BINARY, ...$arguments], $environment, $input);
    }

    /**
     * A line for the shell.
     *
     * @param array<string, string> $environment besides this process's own
     */
    public static function shell(string $line, array $environment = []): self
    {
        return self::start(['sh', '-c', $line], $environment, '');
    }

    /**
     * @param list<string> $command
     * @param array<string, string> $environment
     */
    private static function start(array $command, array $environment, string $input): self
    {
        $errors = tmpfile() ?: throw new \RuntimeException('no temporary file');
        $process = proc_open(
            $command,
            [['pipe', 'r'], ['pipe', 'w'], $errors],
            $pipes,
            null,
            $environment + getenv()
        );
        if ($process === false) {
            throw new \RuntimeException('PHP cannot be started');
        }
        fwrite($pipes[0], $input);
        fclose($pipes[0]);
        $output = (string) stream_get_contents($pipes[1]);
        $exit = proc_close($process);
        // PHP believes itself at the beginning, where the other process's output has moved it.
        fseek($errors, 0, SEEK_END);
        rewind($errors);
        return new self($exit, $output, (string) stream_get_contents($errors));
    }

    /**
     * @param list<string> $options of the PHP interpreter
     * @param array<string, string> $environment
     */
    public static function code(string $code, array $options = [], array $environment = []): self
    {
        $autoload = var_export(dirname(__DIR__) . '/autoload.php', true);
        return self::run([...$options, '-r', "require $autoload; $code"], $environment);
    }
}
