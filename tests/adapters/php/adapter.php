<?php

declare(strict_types=1);

/**
 * The PHP adapter of the scenario table: lines in, calls, lines out. It judges nothing.
 * tests/README.md describes the lines.
 */

use B24\MessageService\Client;
use B24\MessageService\Exception\MessageServiceException;

require __DIR__ . '/../../../bindings/php/autoload.php';

final class Adapter
{
    /** @var array<string, string> */
    private array $options = [];
    /** @var array<string, Client> by name; the lines are about the one in use */
    private array $clients = [];
    private string $used = '';
    private ?Throwable $lastError = null;

    /**
     * Carries out one line, and gives what answers it.
     *
     * @return array<string, mixed>
     */
    public function answer(string $verb, mixed ...$arguments): array
    {
        try {
            return ['result' => $this->plain($this->carryOut($verb, ...$arguments))];
        } catch (MessageServiceException $error) {
            return ['error' => $this->members($error)];
        }
    }

    private function carryOut(string $verb, mixed ...$arguments): mixed
    {
        return match ($verb) {
            'use' => $this->used = $arguments[0],
            'client' => $this->open(...$arguments),
            'call' => $this->call(...$arguments),
            'renewals_wait' => Client::renewalsWait($arguments[0] / 1000),
            'tokens' => $this->tokens(),
            'renewed', 'log' => null, // there are no callbacks
            'dump' => $this->dump(),
            'reset' => [$this->options, $this->clients, $this->used, $this->lastError] = [[], [], '', null],
        };
    }

    /**
     * @param list<array{string, string}> $options
     */
    private function open(string $kind, array $options): void
    {
        $given = array_column($options, 1, 0);
        $this->options = $kind === 'new' ? $given : [...$this->options, ...$given];
        unset($this->clients[$this->used]);
        $this->clients[$this->used] = new Client(
            $this->options['portal'] ?? '',
            array_diff_key($this->options, ['portal' => true])
        );
    }

    /**
     * @param array<string, mixed> $arguments by name
     */
    private function call(string $method, array $arguments): mixed
    {
        $named = [];
        foreach ($arguments as $name => $value) {
            $named[self::camel($name)] = $value;
        }
        return $this->clients[$this->used]->{self::camel($method)}(...$named);
    }

    /**
     * @return array<string, string|int|null>
     */
    private function tokens(): array
    {
        $tokens = $this->clients[$this->used]->tokens();
        return [
            'access_token' => $tokens->accessToken,
            'refresh_token' => $tokens->refreshToken,
            'client_endpoint' => $tokens->clientEndpoint,
            'member_id' => $tokens->memberId,
            'expires' => $tokens->expires,
        ];
    }

    private function dump(): string
    {
        ob_start();
        foreach ($this->clients as $client) {
            var_dump($client, $client->tokens());
            echo json_encode($client);
        }
        echo $this->lastError, "\n";
        print_r($this->lastError);
        return (string) ob_get_clean();
    }

    private static function camel(string $name): string
    {
        return lcfirst(str_replace('_', '', ucwords($name, '_')));
    }

    /**
     * What a method returned, as JSON has it: an error among the outcomes of a batch too.
     */
    private function plain(mixed $value): mixed
    {
        return match (true) {
            $value instanceof MessageServiceException => ['error' => $this->members($value)],
            is_array($value) => array_map($this->plain(...), $value),
            default => $value,
        };
    }

    /**
     * @return array<string, string|int|bool>
     */
    private function members(MessageServiceException $error): array
    {
        $this->lastError = $error;
        $retryAfter = $error->retryAfter();
        return [
            'code' => $error->kind(),
            'portal_code' => $error->portalCode(),
            'http_status' => $error->httpStatus() ?? 0,
            'retryable' => $error->isRetryable(),
            'retry_after_ms' => $retryAfter === null ? -1 : (int) round($retryAfter * 1000),
            'message' => $error->getMessage(),
            'description' => $error->description(),
        ];
    }
}

$adapter = new Adapter();
while (($line = fgets(STDIN)) !== false) {
    $answer = $adapter->answer(...json_decode($line, true, flags: JSON_THROW_ON_ERROR));
    echo json_encode($answer, JSON_THROW_ON_ERROR | JSON_INVALID_UTF8_SUBSTITUTE), "\n";
}
