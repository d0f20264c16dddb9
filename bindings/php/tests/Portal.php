<?php

declare(strict_types=1);

namespace B24\MessageService\Tests;

use B24\MessageService\Client;

/**
 * The emulator that B24_PORTAL_BIN names: one for the run, ending with it.
 */
final class Portal
{
    public const ACCESS_TOKEN = 'access-0000000000000001';
    public const REFRESH_TOKEN = 'refresh-0000000000000001';
    public const SECRET = 'secret-0000000000000001';

    private static ?self $running = null;

    /** @var resource */
    private $process;
    /** @var array<int, resource> its standard input keeps it alive */
    private array $pipes = [];
    /** @var array{https_port: int, http_port: int, oauth_port: int, control: string, ca_file: string} */
    private array $addresses;

    private function __construct()
    {
        $program = getenv('B24_PORTAL_BIN')
            ?: throw new \RuntimeException('B24_PORTAL_BIN must name the program b24-portal');
        $process = proc_open([$program], [['pipe', 'r'], ['pipe', 'w']], $this->pipes);
        if ($process === false) {
            throw new \RuntimeException("$program cannot be started");
        }
        $this->process = $process;
        $this->addresses = json_decode((string) fgets($this->pipes[1]), true, 8, JSON_THROW_ON_ERROR);
    }

    /**
     * The portal, anew with these settings.
     *
     * @param array<string, mixed> $settings
     */
    public static function with(array $settings = []): self
    {
        self::$running ??= new self();
        self::$running->ask('POST', '/reset', (object) $settings);
        return self::$running;
    }

    /** Where it is told what to do. */
    public function control(): string
    {
        return $this->addresses['control'];
    }

    /**
     * @return array<string, mixed>
     */
    public function ask(string $method, string $path, mixed $body = null): array
    {
        $context = stream_context_create(['http' => [
            'method' => $method,
            'header' => 'Content-Type: application/json',
            'content' => $body === null ? '' : json_encode($body, JSON_THROW_ON_ERROR),
            'ignore_errors' => true,
        ]]);
        $answer = (string) file_get_contents($this->addresses['control'] . $path, false, $context);
        $answer = json_decode($answer, true, 64, JSON_THROW_ON_ERROR);
        return isset($answer['error']) ? throw new \RuntimeException($answer['error']) : $answer;
    }

    /**
     * @return array<string, mixed>
     */
    public function seen(): array
    {
        return $this->ask('GET', '/seen');
    }

    /**
     * What is stored: "CODE|MESSAGE_ID" to status.
     *
     * @return array<string, string>
     */
    public function messages(): array
    {
        return array_diff_key($this->ask('GET', '/messages'), ['history' => true]);
    }

    /**
     * @param array<string, mixed> $more
     * @return array<string, mixed>
     */
    public function options(array $more = []): array
    {
        return $more + [
            'access_token' => self::ACCESS_TOKEN,
            'ca_file' => $this->addresses['ca_file'],
            'proxy' => 'none',
            'rate_limit' => 'off',
            'resolve' => [
                "portal.bitrix24.test:443:127.0.0.1:{$this->addresses['https_port']}",
                "oauth.bitrix24.test:443:127.0.0.1:{$this->addresses['oauth_port']}",
            ],
        ];
    }

    /**
     * @return array<string, mixed>
     */
    public function renewable(): array
    {
        return $this->options([
            'refresh_token' => self::REFRESH_TOKEN,
            'client_id' => 'app.1',
            'client_secret' => self::SECRET,
            'oauth_url' => 'https://oauth.bitrix24.test',
        ]);
    }

    /**
     * @param array<string, mixed> $more
     */
    public function client(array $more = []): Client
    {
        return new Client('portal.bitrix24.test', $this->options($more));
    }
}
