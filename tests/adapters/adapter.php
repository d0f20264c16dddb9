<?php

declare(strict_types=1);

/**
 * The PHP adapter of the scenario table: lines in, calls, lines out. It judges nothing.
 */

use B24\MessageService\Client;
use B24\MessageService\Exception\MessageServiceException;

require __DIR__ . '/../../bindings/php/autoload.php';

final class Adapter
{
    /** @var array<string, string> */
    private array $config = [];
    /** @var array<string, Client> by name; the lines are about the one in use */
    private array $clients = [];
    private string $used = '';
    /** @var list<array{string, string, string}> */
    private array $updates = [];
    private ?Throwable $lastError = null;

    /**
     * Carries out one line, and gives the lines that answer it.
     *
     * @param list<string> $words
     * @return list<string>
     */
    public function run(array $words): array
    {
        try {
            return $this->carryOut(...$words);
        } catch (MessageServiceException $error) {
            $this->lastError = $error;
            return [self::error($error)];
        }
    }

    /**
     * @return list<string>
     */
    private function carryOut(string $command, string ...$arguments): array
    {
        switch ($command) {
            case 'use':
                $this->used = $arguments[0];
                return ['ok'];
            case 'config':
                if ($arguments === []) {
                    $this->config = [];
                    return ['ok'];
                }
                $this->config[$arguments[0]] = $arguments[1];
                return ['ok'];
            case 'client':
                unset($this->clients[$this->used]);
                $this->clients[$this->used] = new Client(
                    $this->config['portal'] ?? '',
                    array_diff_key($this->config, ['portal' => true])
                );
                return ['ok'];
            case 'update':
                $this->opened()->messageStatusUpdate(...$arguments);
                return ['ok'];
            case 'renewals_wait':
                Client::renewalsWait((int) $arguments[0] / 1000);
                return ['ok'];
            case 'add':
                $this->updates[] = $arguments;
                return ['ok'];
            case 'batch':
                $updates = $this->updates;
                $this->updates = [];
                $fates = $this->opened()->messageStatusUpdateBatch($updates);
                foreach ($fates as $fate) {
                    $this->lastError = $fate ?? $this->lastError;
                }
                $lines = array_map(static fn ($fate) => $fate === null ? 'ok' : self::error($fate), $fates);
                return [self::line('fates', count($fates)), ...$lines];
            case 'tokens':
                $tokens = $this->opened()->tokens();
                return [self::line(
                    'tokens',
                    $tokens->accessToken,
                    $tokens->refreshToken,
                    $tokens->clientEndpoint,
                    $tokens->memberId,
                    $tokens->expires ?? 0
                )];
            case 'renewed':
                return ['-1'];
            case 'log':
                return ['ok'];
            case 'dump':
                return [rawurlencode($this->dump())];
            case 'reset':
                [$this->config, $this->clients, $this->used] = [[], [], ''];
                [$this->updates, $this->lastError] = [[], null];
                return ['ok'];
            default:
                throw new LogicException("no such command: $command");
        }
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

    private function opened(): Client
    {
        return $this->clients[$this->used] ?? throw new LogicException('there is no client: say `client` first');
    }

    private static function error(MessageServiceException $error): string
    {
        $retryAfter = $error->retryAfter();
        return self::line(
            'error',
            $error->kind(),
            $error->portalCode(),
            $error->httpStatus() ?? 0,
            (int) $error->isRetryable(),
            $retryAfter === null ? -1 : (int) round($retryAfter * 1000),
            $error->getMessage(),
            $error->description()
        );
    }

    private static function line(string|int ...$fields): string
    {
        return implode("\t", array_map(static fn ($field) => rawurlencode((string) $field), $fields));
    }
}

$adapter = new Adapter();
while (($text = fgets(STDIN)) !== false) {
    $words = array_map(rawurldecode(...), explode("\t", rtrim($text, "\n")));
    if ($words === ['exit']) {
        break;
    }
    foreach ($adapter->run($words) as $answer) {
        echo $answer, "\n";
    }
}
