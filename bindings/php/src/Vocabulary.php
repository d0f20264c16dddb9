<?php

declare(strict_types=1);

namespace B24\MessageService;

use B24\MessageService\Exception\InvalidArgument;
use B24\MessageService\Exception\MessageServiceException;

/**
 * What the words of an operator or provider mean as statuses.
 *
 * `new Vocabulary('smpp')` knows the states of SMPP, `'gsm'` those of GSM's status reports, `'twilio'` those of
 * Twilio. With a table it has the words of that table. Case and surrounding spaces do not count.
 */
final class Vocabulary
{
    private readonly \FFI $ffi;
    private readonly \FFI\CData $vocabulary;

    /**
     * @param string $name `smpp`, `gsm` or `twilio`; with a table a name for messages
     * @param array<Status|string>|null $table the status of each word
     *
     * @throws InvalidArgument if there is no vocabulary of that name, or a status is none
     */
    public function __construct(private readonly string $name, ?array $table = null)
    {
        $this->ffi = Loader::ffi();
        $name = Argument::text('name', $name);
        $this->vocabulary = Signals::held(
            fn (): \FFI\CData => $table === null ? $this->named($name) : $this->ofTable($name, $table)
        );
    }

    public function __destruct()
    {
        Signals::held(fn () => $this->ffi->b24_vocabulary_free($this->vocabulary));
    }

    /**
     * The status that a word stands for.
     *
     * @throws InvalidArgument if the word is not known, or says nothing about delivery; it is never guessed
     */
    public function status(string|int $word): Status
    {
        $word = Argument::text('word', $word);
        $status = $this->ffi->new('const char *');
        $error = Failure::place($this->ffi);
        Signals::held(fn () => Failure::check(
            $this->ffi->b24_vocabulary_status($this->vocabulary, $word, \FFI::addr($status), \FFI::addr($error)),
            $error
        ));
        return Status::from(\FFI::string($status));
    }

    /**
     * @return array<string, string>
     */
    public function __debugInfo(): array
    {
        return ['name' => $this->name];
    }

    public function __serialize(): array
    {
        throw new \LogicException(self::class . ' holds memory of the library: make one where you need it');
    }

    private function __clone()
    {
    }

    private function named(string $name): \FFI\CData
    {
        $vocabulary = $this->ffi->new('b24_vocabulary *');
        $error = Failure::place($this->ffi);
        Failure::check(
            $this->ffi->b24_vocabulary_named($name, \FFI::addr($vocabulary), \FFI::addr($error)),
            $error
        );
        return $vocabulary;
    }

    /**
     * @param array<mixed> $table
     */
    private function ofTable(string $name, array $table): \FFI\CData
    {
        $vocabulary = $this->ffi->b24_vocabulary_new($name);
        try {
            foreach ($table as $word => $status) {
                $this->set($vocabulary, $word, $status);
            }
        } catch (MessageServiceException $fault) {
            // An object whose constructor fails is not destroyed.
            $this->ffi->b24_vocabulary_free($vocabulary);
            throw $fault;
        }
        return $vocabulary;
    }

    private function set(\FFI\CData $vocabulary, string|int $word, mixed $status): void
    {
        if (!is_string($status) && !$status instanceof Status) {
            throw new InvalidArgument("the status of $word is a " . get_debug_type($status) . '; it takes text');
        }
        $word = Argument::text('word', $word);
        $status = Argument::text('status', $status);
        $error = Failure::place($this->ffi);
        Failure::check($this->ffi->b24_vocabulary_set($vocabulary, $word, $status, \FFI::addr($error)), $error);
    }
}
